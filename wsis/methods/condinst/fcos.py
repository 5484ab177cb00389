"""FCOS head, shared over levels, with CondInst's controller on the box tower.

Shapes: B images, L levels, P locations over all levels, C classes, T dynamic parameters, D tower channels,
P' cells of all levels with a frame of one cell around each.
"""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.nn.layout import Layout


class FCOSHead(nn.Module):
    """Classification, box, centerness and controller outputs for every location of every level."""

    def __init__(self, channels: int, convs: int, num_classes: int, parameters: int, layout: Layout) -> None:
        super().__init__()
        self.layout = layout
        self.cls_tower = _tower(channels, convs)
        self.box_tower = _tower(channels, convs)
        self.cls_logits = nn.Conv2d(channels, num_classes, 3, padding=1)
        self.box_pred = nn.Conv2d(channels, 4, 3, padding=1)
        self.centerness = nn.Conv2d(channels, 1, 3, padding=1)
        self.controller = Controller(channels, parameters, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(layout.strides)))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)
        nn.init.constant_(self.cls_logits.bias, -math.log((1 - 0.01) / 0.01))  # prior 0.01

    def forward(self, features: dict[str, Tensor], classify: bool = True) -> dict[str, Tensor]:
        """Pyramid levels "p3"... -> tensors over all P locations, in the order of `locations`.

        classify: without it there are no logits, and their tower is not computed.

        Returns:
            logits B x P x C; boxes B x P x 4 (l, t, r, b >= 0 in strides); centerness B x P (logits);
            tower B x P' x D, what the controller reads
        """
        outputs: dict[str, list[Tensor]] = {"logits": [], "boxes": [], "centerness": [], "tower": []}
        for i in range(len(self.layout.strides)):
            x = features[f"p{3 + i}"]
            box = self.box_tower(x)
            if classify:
                outputs["logits"].append(_by_location(self.cls_logits(self.cls_tower(x))))
            outputs["boxes"].append(_by_location((self.box_pred(box) * self.scales[i]).relu()))
            outputs["centerness"].append(_by_location(self.centerness(box)).squeeze(2))
            outputs["tower"].append(_by_location(F.pad(box, (1, 1, 1, 1))))
        return {name: torch.cat(values, 1).float() for name, values in outputs.items() if values}


class Controller(nn.Conv2d):
    """A 3x3 convolution that is computed at chosen locations only: few of them have an instance."""

    def forward(self, tower: Tensor, image: Tensor, around: Tensor) -> Tensor:
        """Weights of the dynamic mask head of N instances: N x T float32.

        Args:
            tower: B x P' x D, of `FCOSHead`
            image: N int64
            around: N x 9 int64, cells of P' around each instance's location (`neighbourhoods`)
        """
        cells = tower[image[:, None], around].flatten(1)  # N x 9D
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(cells, weight, self.bias).float()


def neighbourhoods(height: int, width: int, layout: Layout, device: torch.device) -> Tensor:
    """P x 9 int64: cells of P' under a 3x3 kernel at each location of an H x W input, row by row."""
    cells, start = [], 0
    for rows, columns in layout.grids(height, width):
        y, x = torch.meshgrid(
            torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij"
        )
        corner = start + y.reshape(-1, 1) * (columns + 2) + x.reshape(-1, 1)
        three = torch.arange(3, device=device)
        cells.append(corner + (three[:, None] * (columns + 2) + three).flatten())
        start += (rows + 2) * (columns + 2)
    return torch.cat(cells)


def locations(height: int, width: int, layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image position and level of every location for an H x W input.

    Returns:
        P x 2 float (x, y) in input pixels: stride * i + stride // 2; P int64 level index.
    """
    points, levels = [], []
    for level, (rows, columns) in enumerate(layout.grids(height, width)):
        stride = layout.strides[level]
        y = torch.arange(rows, device=device) * stride + stride // 2
        x = torch.arange(columns, device=device) * stride + stride // 2
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).flip(1)
        points.append(grid.float())
        levels.append(torch.full((len(grid),), level, device=device))
    return torch.cat(points), torch.cat(levels)


@cache
def of_levels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number of each level, L float32, on a device; copied there once."""
    return torch.tensor(values, dtype=torch.float32).to(device)


def _by_location(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _tower(channels: int, convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    groups = math.gcd(32, channels)
    for _ in range(convs):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels), nn.ReLU(True)]
    return nn.Sequential(*layers)
