"""The momentum network F' (SIM, Sec. 3.4): a slow copy of the student that makes the pseudo masks.

Shapes: B images, H x W network input.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn

from wsis.declare.recipe import ModelSpec
from wsis.methods.condinst import CondInst
from wsis.nn.backbones import build_pyramid
from wsis.nn.dynamic_head import parameter_count
from wsis.nn.fcos import FCOSHead
from wsis.nn.mask_branch import MaskBranch


class MomentumNetwork(nn.Module):
    """Backbone, pyramid, detector with controller, and mask branch, without gradient.

    released: the code's variant (S12): weights of its own to begin with, batch norm by batch, and a detector
    that reads the student's features.
    """

    def __init__(self, student: CondInst, released: bool) -> None:
        super().__init__()
        self.released = released
        if released:
            spec: ModelSpec = student.recipe.model
            parameters = parameter_count(spec.mask_channels, spec.head_channels)
            self.pyramid = build_pyramid(spec)
            self.mask_branch = MaskBranch(self.pyramid.channels, spec.mask_channels, student.layout)
            self.head = FCOSHead(
                spec.channels, spec.tower_convs, student.num_classes, parameters, student.layout
            )
        else:
            self.pyramid, self.mask_branch, self.head = (deepcopy(part) for part in self._parts(student))
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> MomentumNetwork:
        """A copy keeps to its running statistics whatever the student does."""
        return super().train(mode and self.released)

    @torch.no_grad()
    def forward(self, images: Tensor, student: dict[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs of the detector without its classes, and mask features, as CondInst's.

        images: B x 3 x H x W uint8; student: the student's pyramid of these images.
        """
        features = self.pyramid(images)
        seen = {name: level.detach() for name, level in student.items()} if self.released else features
        return self.head(seen, classify=False), self.mask_branch(features)

    @torch.no_grad()
    def follow(self, student: CondInst, momentum: float) -> None:
        """Weights: momentum * own + (1 - momentum) * student's; buffers are copied. 0 makes a plain copy."""
        for own, theirs in zip(self.children(), self._parts(student), strict=True):
            mine, other = list(own.parameters()), [p.detach() for p in theirs.parameters()]
            if mine:
                torch._foreach_lerp_(mine, other, 1 - momentum)
            for buffer, source in zip(own.buffers(), theirs.buffers(), strict=True):
                buffer.copy_(source)

    @staticmethod
    def _parts(network: CondInst) -> tuple[nn.Module, ...]:
        return network.pyramid, network.mask_branch, network.head
