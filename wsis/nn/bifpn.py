"""BiFPN: the weighted pyramid of EfficientDet (Tan et al., CVPR 2020), with full 3x3 convolutions.

A layer goes down the levels and up again; each of its nodes is a weighted mean of maps at one level. Levels
beyond the backbone's stages are pooled from the last. Depth, width and norm are AdelaiDet's: no paper gives
them.
Shapes: B images, C' channels of each level.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYERS = 6
EPSILON = 1e-4  # of the weights' sum


class BiFPN(nn.Module):
    """The backbone's stages in, finest first; levels "p3", "p4", ... out, each half as fine as the last."""

    def __init__(self, widths: Sequence[int], channels: int, levels: int) -> None:
        """widths: channels of the stages; levels: as many as these or more"""
        super().__init__()
        further = [widths[-1], *[channels] * (levels - len(widths))]
        self.top = nn.ModuleList(
            nn.Identity() if a == b else _conv(a, b, 1, bias=False) for a, b in pairwise(further)
        )
        given = [*widths, *further[1:]]
        self.layers = nn.ModuleList(
            Layer(given if number == 0 else [channels] * levels, channels) for number in range(LAYERS)
        )

    def forward(self, stages: dict[str, Tensor]) -> dict[str, Tensor]:
        levels = list(stages.values())
        for reduce in self.top:
            levels.append(_halved(reduce(levels[-1])))
        for layer in self.layers:
            levels = layer(levels)
        return {f"p{3 + i}": level for i, level in enumerate(levels)}


class Layer(nn.Module):
    """One way down and up: L levels of any width -> L levels of C' channels."""

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(
            nn.Identity() if width == channels else _conv(width, channels, 1, bias=True) for width in widths
        )
        self.sources = tuple(_sources(len(widths)))
        self.nodes = nn.ModuleList(Node(len(sources), channels) for _, sources in self.sources)

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        maps = [lateral(level) for lateral, level in zip(self.laterals, levels, strict=True)]
        last = {}
        for node, (level, sources) in zip(self.nodes, self.sources, strict=True):
            last[level] = node([_resized(maps[number], levels[level].shape[-2:]) for number in sources])
            maps.append(last[level])
        return [last[level] for level in range(len(levels))]


class Node(nn.Module):
    """Maps of one size and width -> their weighted mean, after swish and a convolution.

    The weights w >= 0 are learnt: sum of w_i x_i / (sum of w_j + 1e-4) ("fast normalised fusion").
    """

    def __init__(self, maps: int, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(maps))
        self.output = _conv(channels, channels, 3, bias=False)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        weights = self.weights.relu()
        weights = weights / (weights.sum() + EPSILON)
        return self.output(F.silu(sum(w * x for w, x in zip(weights, maps, strict=True))))


def _sources(levels: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """A layer's nodes in order: the level of each, and the numbers of the maps that it takes.

    Maps are numbered: the layer's inputs from the finest on, then the nodes.
    """
    made = list(range(levels))  # number of the newest map of each level
    count = levels
    for level in reversed(range(levels - 1)):
        yield level, (level, made[level + 1])
        made[level], count = count, count + 1
    for level in range(1, levels):
        own = (level,) if made[level] == level else (level, made[level])
        yield level, (*own, made[level - 1])
        made[level], count = count, count + 1


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    """Pooled where the map is finer than `size`, repeated where it is coarser."""
    if x.shape[-2:] == size:
        return x
    return _halved(x) if x.shape[-1] > size[-1] else F.interpolate(x, size=size, mode="nearest")


def _halved(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, padding=1)


def _conv(inputs: int, outputs: int, size: int, bias: bool) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))
