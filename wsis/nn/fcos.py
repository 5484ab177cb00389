"""FCOS head, shared over levels, with CondInst's controller on the box tower.

Shapes: B images, L levels, P locations over all levels, C classes, T dynamic parameters.
"""

from __future__ import annotations

import math

import torch
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
        self.controller = nn.Conv2d(channels, parameters, 3, padding=1)
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
            parameters B x P x T
        """
        outputs: dict[str, list[Tensor]] = {"logits": [], "boxes": [], "centerness": [], "parameters": []}
        for i in range(len(self.layout.strides)):
            x = features[f"p{3 + i}"]
            box = self.box_tower(x)
            if classify:
                outputs["logits"].append(_by_location(self.cls_logits(self.cls_tower(x))))
            outputs["boxes"].append(_by_location((self.box_pred(box) * self.scales[i]).relu()))
            outputs["centerness"].append(_by_location(self.centerness(box)).squeeze(2))
            outputs["parameters"].append(_by_location(self.controller(box)))
        return {name: torch.cat(values, 1).float() for name, values in outputs.items() if values}


def locations(height: int, width: int, layout: Layout, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image position and level of every location for an H x W input.

    Returns:
        P x 2 float (x, y) in input pixels: stride * i + stride // 2; P int64 level index.
    """
    points, levels = [], []
    for level, stride in enumerate(layout.strides):
        y = torch.arange(-(-height // stride), device=device) * stride + stride // 2
        x = torch.arange(-(-width // stride), device=device) * stride + stride // 2
        grid = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2).flip(1)
        points.append(grid.float())
        levels.append(torch.full((len(grid),), level, device=device))
    return torch.cat(points), torch.cat(levels)


def _by_location(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _tower(channels: int, convs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    groups = math.gcd(32, channels)
    for _ in range(convs):
        layers += [nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(groups, channels), nn.ReLU(True)]
    return nn.Sequential(*layers)
