"""Backbones that give a feature pyramid its stages, and the pyramid.

Shapes: B images, H x W network input (a multiple of the coarsest stride).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from wsis.declare.specs.model import ModelSpec
from wsis.nn.backbones import BACKBONES, build_backbone
from wsis.nn.bifpn import BiFPN
from wsis.nn.deformable import Deformable, deform
from wsis.nn.frozen import FrozenStages, Size
from wsis.nn.weights import load_backbone_weights


class Normalised(nn.Module):
    """A backbone and the normalisation of its pixels; `fpn`, a neck, is the subclass's."""

    fpn: nn.Module

    def __init__(self, spec: ModelSpec, read: Collection[str]) -> None:
        """read: the names of the stages that anybody reads. WsisError when weights can't be had."""
        super().__init__()
        backbone, body = BACKBONES[spec.backbone], build_backbone(spec, "pyramid")
        if spec.frozen_backbone:
            body = FrozenStages(body, read, backbone.mean, backbone.std)
        for name, norm in getattr(body, "norms", {}).items():  # of a stage that nobody reads: no gradient
            norm.requires_grad_(name in read and not spec.frozen_backbone)
        self.body = body
        self.register_buffer("mean", torch.tensor(backbone.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std)[:, None, None], persistent=False)

    @property
    def frozen(self) -> bool:
        """Whether the backbone isn't trained: it then wants the images' sizes without padding."""
        return isinstance(self.body, FrozenStages)

    def towers(self) -> list[nn.Module]:
        """Backbone and neck; one that isn't trained reads and writes files, and stays out."""
        return [self.fpn] if self.frozen else [self.body, self.fpn]

    def stages(self, images: Tensor, sizes: Sequence[Size] | None = None) -> dict[str, Tensor]:
        """B x 3 x H x W uint8 RGB -> the backbone's stages by name, each B x C x H/s x W/s.

        sizes: (h, w) of each image without padding, which a frozen backbone leaves out; None: there is none
        """
        if self.frozen:
            return self.body(images, sizes)
        return self.body((images.float() - self.mean) / self.std)


class Pyramid(Normalised):
    """Normalisation, backbone and neck (FPN or BiFPN): uint8 images in, named features out."""

    def __init__(self, spec: ModelSpec) -> None:
        """Raises WsisError when the backbone's weights can't be had."""
        layout = BACKBONES[spec.backbone].layout
        super().__init__(spec, {*layout.names, *layout.mask_inputs})
        self.layout = layout
        widths, levels = [self.body.channels[name] for name in layout.names], len(layout.strides)
        if spec.neck == "bifpn":
            self.fpn: nn.Module = BiFPN(widths, spec.channels, levels)
        else:
            extra = CoarsestLevels(spec.channels, spec.channels) if levels > len(widths) else None
            self.fpn = FeaturePyramidNetwork(widths, spec.channels, extra_blocks=extra)
        self.channels = self.body.channels | {f"p{3 + i}": spec.channels for i in range(len(layout.strides))}

    def forward(self, images: Tensor, sizes: Sequence[Size] | None = None) -> dict[str, Tensor]:
        """`stages` of images, and pyramid levels "p3"..., each B x C x H/s x W/s."""
        return self.of_stages(self.stages(images, sizes))

    def of_stages(self, stages: dict[str, Tensor]) -> dict[str, Tensor]:
        """The stages and the pyramid's levels."""
        levels = self.fpn({name: stages[name] for name in self.layout.names})
        # FPN's levels have their stage's name, but for those that its extra block or BiFPN names.
        return stages | {"p" + name.removeprefix("c").removeprefix("p"): x for name, x in levels.items()}


class CoarsestLevels(LastLevelP6P7):
    """Levels p6 and p7, each a convolution of stride 2 (FCOS)."""

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        p6 = _halved(self.p6, p[-1] if self.use_P5 else c[-1])
        p7 = _halved(self.p7, F.relu(p6))
        return [*p, p6, p7], [*names, "p6", "p7"]


def _halved(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """`conv`, 3 x 3 of stride 2, also of a single row or column in bf16 on a processor.

    There torch (2.15) leaves gradients of weights that meet nothing but padding as memory happens to be.
    """
    if min(x.shape[-2:]) > 1:
        return conv(x)
    return F.conv2d(F.pad(x, (1, 1, 1, 1)), conv.weight, conv.bias, conv.stride)


class ResNetStages(nn.Module):
    """torchvision's ResNet; stem and first stage are frozen when its batch norm is (weights are given).

    '-dcn' behind its name: its last three stages are deformable.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        frozen = spec.norm == "frozen"
        name, _, deformable = spec.backbone.partition("-")
        net = getattr(torchvision.models, name)(
            weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d
        )
        load_backbone_weights(net, spec)
        for stage in (net.layer2, net.layer3, net.layer4) if deformable else ():
            deform(stage)
        self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
        self.c2, self.c3, self.c4, self.c5 = net.layer1, net.layer2, net.layer3, net.layer4
        widths = BACKBONES[spec.backbone].widths[1:]
        self.channels = dict(zip(("c2", "c3", "c4", "c5"), widths, strict=True))
        if frozen:
            for part in (self.stem, self.c2):
                part.requires_grad_(False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        stages = {}
        x = self.stem(x)
        for name in self.channels:
            x = stages[name] = getattr(self, name)(x)
        return stages


def fused_stages(spec: ModelSpec) -> list[nn.Module]:
    """A ResNet's stem and four stages, finest first."""
    body = ResNetStages(spec)
    return [body.stem, *(getattr(body, name) for name in body.channels)]


class TinyNet(nn.Module):
    """Four-stage residual net for small synthetic images, strides 4, 8 and 16, trained from scratch."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        width = spec.channels // 2
        wide = width * 4 // 3
        self.channels = {"c2": wide, "c3": 2 * wide, "c4": 3 * wide}
        self.stem = nn.Sequential(_conv(3, width, 2), _conv(width, wide, 2))
        self.c2 = Residual(wide, wide, 1)
        self.c3 = Residual(wide, 2 * wide, 2)
        self.c4 = Residual(2 * wide, 3 * wide, 2)
        if spec.backbone.endswith("-dcn"):
            for stage in (self.c3, self.c4):
                stage.convs[1][0] = Deformable(stage.convs[1][0])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        c2 = self.c2(self.stem(x))
        c3 = self.c3(c2)
        return {"c2": c2, "c3": c3, "c4": self.c4(c3)}


class Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(inputs, outputs, stride), _conv(outputs, outputs, 1, relu=False))
        plain = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if plain else _conv(inputs, outputs, stride, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.convs(x) + self.shortcut(x)).relu()


def _conv(inputs: int, outputs: int, stride: int, relu: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)
