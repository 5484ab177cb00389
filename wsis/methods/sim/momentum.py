"""The momentum network F' (SIM, Sec. 3.4): a slow copy of the student that makes the pseudo masks.

Shapes: B images, H x W network input.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn

from wsis.data.structures import sent
from wsis.declare.specs.model import ModelSpec
from wsis.methods.condinst.dynamic_head import parameter_count
from wsis.methods.condinst.fcos import FCOSHead
from wsis.methods.condinst.mask_branch import MaskBranch
from wsis.methods.condinst.method import CondInst, Scene
from wsis.nn.pyramid import Pyramid


class MomentumNetwork(nn.Module):
    """Backbone, pyramid, detector with controller, and mask branch, without gradient.

    Of a student whose detector is frozen it has what still moves, mask branch and controller.
    released: the code's variant (S12): weights of its own to begin with, batch norm by batch, and a detector
    that reads the student's features.
    """

    def __init__(self, student: CondInst, released: bool) -> None:
        super().__init__()
        self.released, self.frozen = released, student.frozen
        spec: ModelSpec = student.recipe.model
        parameters = parameter_count(spec.mask_channels, spec.head_channels)
        if released:
            self.mask_branch = MaskBranch(student.pyramid.channels, spec.mask_channels, student.layout)
            head = FCOSHead(spec.channels, spec.tower_convs, student.num_classes, parameters, student.layout)
        else:
            self.mask_branch, head = deepcopy(student.mask_branch), deepcopy(student.head)
        if self.frozen:
            self.controller = head.controller
        else:
            self.pyramid = Pyramid(spec) if released else deepcopy(student.pyramid)
            self.head = head
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> MomentumNetwork:
        """A copy keeps to its running statistics whatever the student does."""
        return super().train(mode and self.released)

    @torch.no_grad()
    def forward(self, images: Tensor, student: Scene) -> tuple[Scene, Tensor]:
        """What its detector sees, without classes, and mask features, as CondInst's.

        images: B x 3 x H x W uint8; student: what the student sees in them.
        """
        if self.frozen:
            return student, self.mask_branch(student.pyramid)
        same = self.pyramid.frozen  # the student's backbone is its own
        features = self.pyramid.of_stages(student.pyramid) if same else self.pyramid(images)
        seen = features
        if self.released:
            seen = {name: level.detach() for name, level in student.pyramid.items()}
        return replace(student, outputs=self.head(seen, classify=False)), self.mask_branch(features)

    def parameters_at(self, scene: Scene, image: Tensor, location: Tensor) -> Tensor:
        """Weights of the dynamic mask heads at N locations (image, location: N int64): N x T float32."""
        controller = self.controller if self.frozen else self.head.controller
        image, location = sent(torch.stack([image, location]), scene.around.device)
        return controller(scene.outputs["tower"], image, scene.around[location])

    @torch.no_grad()
    def follow(self, student: CondInst, momentum: float) -> None:
        """Weights w become momentum * w + (1 - momentum) * student's; buffers are copied. 0: a plain copy."""
        pairs = [(self.mask_branch, student.mask_branch)]
        if self.frozen:
            pairs.append((self.controller, student.head.controller))
        else:
            pairs += [(self.pyramid, student.pyramid), (self.head, student.head)]
        average(pairs, momentum)


def average(pairs: list[tuple[nn.Module, nn.Module]], momentum: float) -> None:
    """Each pair's first: weights w become momentum * w + (1 - momentum) * the second's, buffers copied."""
    for copied, source in pairs:
        weights, targets = list(copied.parameters()), [p.detach() for p in source.parameters()]
        if weights:
            torch._foreach_lerp_(weights, targets, 1 - momentum)
        for buffer, value in zip(copied.buffers(), source.buffers(), strict=True):
            buffer.copy_(value)
