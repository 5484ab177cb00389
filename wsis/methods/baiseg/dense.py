"""BAISeg's backbones: one map of dense features (Secs. 3.2, 4.2; Table 6).

Shapes: B images, S x S input, s stride of the features, C' their channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.declare.recipe import ModelSpec
from wsis.errors import WsisError
from wsis.nn.hrnet import MULTIPLE, NAMES, build_hrnet, join

RESNETS = ("resnet50", "resnet101")
STEM = 64  # channels of a ResNet's stem
TINY_HRNETS = {  # channels of the branches at strides 2, 4, 8 and 16
    "tiny-hrnet-w48": (24, 32, 48, 64),
    "tiny-hrnet-w32": (16, 24, 32, 48),
    "tiny-hrnetv2-w48": (24, 32, 48, 64),
}
TINY_RESNETS = {"tiny-resnet50": (1, 1, 1), "tiny-resnet101": (1, 2, 3)}  # blocks at strides 4, 8 and 16
TINY_WIDTHS = (16, 24, 32, 48, 64)  # of the tiny ResNets: stem and first stage at stride 2, then 4, 8, 16
TINY_MULTIPLE = 16


def build_dense(model: ModelSpec, multi_scale: bool, stage_dim: int) -> DenseFeatures:
    """The network of `model.backbone` with `model.weights` (the tiny ones start from scratch).

    HRNets and their tiny counterparts have one output, ResNets are fused from all their stages: raises
    WsisError where `multi_scale` says otherwise, for another backbone, and where weights can't be had.
    """
    name = model.backbone
    known = (*NAMES, *RESNETS, *TINY_HRNETS, *TINY_RESNETS)
    if name not in known:
        raise WsisError(f"model.backbone '{name}' has no dense features for BAISeg; use {', '.join(known)}")
    if multi_scale != (name in RESNETS or name in TINY_RESNETS):
        reason, key = ("has one output", "false") if multi_scale else ("needs its stages fused", "true")
        raise WsisError(f"model.backbone {name} {reason}: set baiseg.multi_scale to {key}")
    if name in NAMES:
        net = build_hrnet(model)
        return DenseFeatures(net, net.channels, net.stride, MULTIPLE)
    if name in RESNETS:
        return DenseFeatures(_resnet(model, stage_dim), (1 + 4) * stage_dim, 4, MULTIPLE)
    if name in TINY_HRNETS:
        net = TinyBranches(TINY_HRNETS[name], joined=name.startswith("tiny-hrnetv2"))
        return DenseFeatures(net, net.channels, 2, TINY_MULTIPLE)
    stages = _tiny_stages(TINY_RESNETS[name])
    net = MultiScale(stages, TINY_WIDTHS, stage_dim).to(memory_format=torch.channels_last)
    return DenseFeatures(net, len(TINY_WIDTHS) * stage_dim, 2, TINY_MULTIPLE)


class DenseFeatures(nn.Module):
    """A network with attributes `channels` (C'), `stride` (s), and `multiple`, which sides must be."""

    def __init__(self, net: nn.Module, channels: int, stride: int, multiple: int) -> None:
        super().__init__()
        self.net, self.channels, self.stride, self.multiple = net, channels, stride, multiple

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, B x 3 x S x S float -> B x C' x S/s x S/s. WsisError for other sides."""
        h, w = images.shape[-2:]
        if h % self.multiple or w % self.multiple:
            raise WsisError(
                f"the backbone takes images whose sides are multiples of {self.multiple}, not {h} x {w}:"
                " change baiseg.crop"
            )
        return self.net(images)


class MultiScale(nn.Module):
    """The outputs of successive stages, each through a 1x1 convolution, upsampled to the first and joined.

    Table 6's starred backbones: its costs per channel show stem and four stages, without batch norm.
    """

    def __init__(self, stages: Sequence[nn.Module], widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """B x 3 x S x S -> B x (stages dim) x S/s x S/s."""
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        return join(levels)


class TinyBranches(nn.Module):
    """HRNet in small for 96-pixel images: branches at strides 2, 4, 8 and 16 that exchange once, at the end.

    Each branch is a strided convolution of the finer one and a residual block. The output is the finest
    branch plus the others, brought to its width by 1x1 convolutions and repeated (as the pose network), or
    all branches upsampled and joined (HRNetV2).
    """

    def __init__(self, widths: Sequence[int], joined: bool) -> None:
        super().__init__()
        self.channels = sum(widths) if joined else widths[0]
        self.branches = nn.ModuleList(
            _stage(a, b, 1, 2) for a, b in zip((3, *widths[:-1]), widths, strict=True)
        )
        self.ups = nn.ModuleList(_conv(w, widths[0], 1) for w in widths[1:] if not joined)
        self.joined = joined
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """B x 3 x S x S -> B x C' x S/2 x S/2."""
        levels = []
        for branch in self.branches:
            x = branch(x)
            levels.append(x)
        if self.joined:
            return join(levels)
        size = levels[0].shape[-2:]
        coarse = [up(level) for up, level in zip(self.ups, levels[1:], strict=True)]
        return sum((F.interpolate(c, size=size, mode="nearest") for c in coarse), levels[0]).relu()


def _resnet(model: ModelSpec, stage_dim: int) -> MultiScale:
    from wsis.nn.backbones import ResNetStages  # brings torchvision along

    body = ResNetStages(model)
    stages = [body.stem, *(getattr(body, name) for name in body.channels)]
    return MultiScale(stages, (STEM, *body.channels.values()), stage_dim)


def _tiny_stages(blocks: Sequence[int]) -> list[nn.Module]:
    stem = _stage(3, TINY_WIDTHS[0], 0, 2)
    widths = TINY_WIDTHS[1:]
    first = _stage(TINY_WIDTHS[0], widths[0], 0, 1)
    return [
        stem,
        first,
        *(_stage(a, b, n, 2) for a, b, n in zip(widths[:-1], widths[1:], blocks, strict=True)),
    ]


def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution with this stride, then residual blocks."""
    first = [_conv(inputs, outputs, 3, stride), nn.ReLU(inplace=True)]
    return nn.Sequential(*first, *(_Residual(outputs) for _ in range(blocks)))


class _Residual(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(_conv(width, width, 3), nn.ReLU(inplace=True), _conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.convs(x)).relu()


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers)
