"""Networks in small for synthetic images of about 96 pixels, trained from scratch.

Shapes: B images or patches of S x S pixels, C' output channels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.nn.backbones import BACKBONES
from wsis.nn.hrnet import join


class TinyHRNet(nn.Module):
    """HRNet in small, for patches of about 48 pixels: strides 2, 4, 8 and 16, one block a branch and stage.

    A stage adds a branch, and ends with an exchange: every branch gets the sum of all, brought to its size
    (pooled, or the nearest cell) and its width by 1x1 convolutions. At the end each branch gives 16 of the 64
    channels at stride 2.
    """

    stride = 2
    channels = 64
    widths = (16, 32, 48, 64)

    def __init__(self, _: ModelSpec) -> None:
        super().__init__()
        widths = self.widths
        self.stem = nn.Sequential(_conv(3, widths[0], 3, 2), nn.ReLU(inplace=True))
        self.grow = nn.ModuleList(
            nn.Sequential(_conv(a, b, 3, 2), nn.ReLU(inplace=True)) for a, b in pairwise(widths)
        )
        self.blocks = nn.ModuleList(nn.ModuleList(map(_Residual, widths[: n + 1])) for n in range(1, 4))
        self.exchanges = nn.ModuleList(_Exchange(widths[: n + 1]) for n in range(1, 4))
        share = self.channels // len(widths)
        self.outputs = nn.ModuleList(_conv(width, share, 1) for width in widths)
        self.to(memory_format=torch.channels_last)  # a third faster on a CPU

    def forward(self, patches: Tensor) -> Tensor:
        """B x 3 x S x S float -> B x 64 x S/2 x S/2."""
        branches = [self.stem(patches.contiguous(memory_format=torch.channels_last))]
        for grow, blocks, exchange in zip(self.grow, self.blocks, self.exchanges, strict=True):
            branches.append(grow(branches[-1]))
            branches = exchange([block(x) for block, x in zip(blocks, branches, strict=True)])
        return join([out(x) for out, x in zip(self.outputs, branches, strict=True)]).relu()


class TinyBranches(nn.Module):
    """HRNet in small for 96-pixel images: branches at strides 2, 4, 8 and 16 that exchange once, at the end.

    Each branch is a strided convolution of the finer one and a residual block. The output is the finest
    branch plus the others, brought to its width by 1x1 convolutions and repeated (as the pose network), or
    all branches upsampled and joined (HRNetV2).
    """

    stride = 2

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        widths, joined = BACKBONES[spec.backbone].widths, spec.backbone.startswith("tiny-hrnetv2")
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


def tiny_stages(spec: ModelSpec) -> list[nn.Module]:
    """Stem and first stage at stride 2, then stages at 4, 8 and 16 with `Backbone.blocks` residual blocks."""
    backbone = BACKBONES[spec.backbone]
    stem, first, *others = backbone.widths
    return [
        _stage(3, stem, 0, 2),
        _stage(stem, first, 0, 1),
        *(_stage(a, b, n, 2) for (a, b), n in zip(pairwise((first, *others)), backbone.blocks, strict=True)),
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


class _Exchange(nn.Module):
    """Every branch gets the sum of all; finer ones are averaged over cells, coarser ones repeated."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.ModuleList(nn.Identity() if a == b else _conv(a, b, 1) for a in widths) for b in widths
        )

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        results = []
        for target, convs in zip(branches, self.convs, strict=True):
            size = target.shape[-2:]
            parts = []
            for conv, x in zip(convs, branches, strict=True):
                if x.shape[-1] > size[-1]:
                    x = conv(F.adaptive_avg_pool2d(x, size))
                elif x.shape[-1] < size[-1]:
                    x = F.interpolate(conv(x), size=size, mode="nearest")
                parts.append(x)
            results.append(sum(parts).relu())
        return results


def _conv(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False), nn.BatchNorm2d(outputs)
    )
