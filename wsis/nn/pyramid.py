"""Backbones that give a feature pyramid its stages, and the pyramid.

Shapes: B images, H x W network input (a multiple of the coarsest stride).
"""

from __future__ import annotations

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from wsis.declare.recipe import ModelSpec
from wsis.nn.backbones import BACKBONES, build_backbone
from wsis.nn.layout import RESNET, TINY, Layout
from wsis.nn.weights import MEAN, STD, load_backbone_weights


class Pyramid(nn.Module):
    """Normalisation, backbone and FPN: uint8 images in, named features out."""

    def __init__(self, body: nn.Module, channels: dict[str, int], fpn: nn.Module, layout: Layout) -> None:
        super().__init__()
        self.body, self.fpn, self.layout, self.channels = body, fpn, layout, channels
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """B x 3 x H x W uint8 RGB -> stages "c2"... and pyramid levels "p3"..., each B x C x H/s x W/s."""
        stages = self.body((images.float() - self.mean) / self.std)
        levels = self.fpn({name: stages[name] for name in self.layout.names})
        # LastLevelP6P7 names its levels itself; the others keep their stage's name.
        return stages | {"p" + name.removeprefix("c").removeprefix("p"): x for name, x in levels.items()}


def build_pyramid(spec: ModelSpec) -> Pyramid:
    """Backbone and FPN of a recipe; raises WsisError when its weights can't be had."""
    body = build_backbone(spec, "pyramid")
    tiny = spec.backbone.startswith("tiny")
    layout, extra = (TINY, None) if tiny else (RESNET, LastLevelP6P7(spec.channels, spec.channels))
    fpn = FeaturePyramidNetwork([body.channels[n] for n in layout.names], spec.channels, extra_blocks=extra)
    channels = body.channels | {f"p{3 + i}": spec.channels for i in range(len(layout.strides))}
    return Pyramid(body, channels, fpn, layout)


class ResNetStages(nn.Module):
    """torchvision's ResNet; stem and first stage are frozen when its batch norm is (weights are given)."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        frozen = spec.norm == "frozen"
        net = getattr(torchvision.models, spec.backbone)(
            weights=None, norm_layer=FrozenBatchNorm2d if frozen else nn.BatchNorm2d
        )
        load_backbone_weights(net, spec)
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
