"""Masks of given boxes: the location of the detector that stands for a box.

Shapes: P locations, n boxes of an image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from wsis.data.structures import Targets
from wsis.losses.detection import assign
from wsis.methods.condinst.fcos import locations
from wsis.methods.condinst.inference import decoded
from wsis.nn.layout import Layout


def locations_of(boxes: Tensor, ltrb: Tensor, size: tuple[int, int], layout: Layout) -> Tensor:
    """The location of each box, n int64: of its positives, the one whose predicted box overlaps it most.

    Every box is assigned alone, so that none loses its locations to a smaller one. A box without a positive
    (smaller than a cell) takes the location nearest to its centre, at the level of its size. All on the CPU.

    Args:
        boxes: n x 4 float32 xyxy pixels of the network input
        ltrb: P x 4, distances predicted at each location, in strides
        size: height and width of the network input
    """
    points, levels = locations(*size, layout, boxes.device)
    label = torch.zeros(1, dtype=torch.int64)
    positives = assign(*size, layout, [Targets(box[None], label) for box in boxes]) if len(boxes) else None
    chosen = []
    for number, box in enumerate(boxes):
        own = positives.location[positives.object == number]
        overlaps = box_iou(decoded(ltrb[own], points[own], levels[own], layout), box[None])
        chosen.append(own[overlaps.argmax()] if len(own) else _nearest(box, points, levels, layout))
    return torch.stack(chosen) if chosen else levels[:0]


def _nearest(box: Tensor, points: Tensor, levels: Tensor, layout: Layout) -> Tensor:
    """The location nearest to a box's centre at the first level that is not too fine for half its side."""
    reach = (box[2:] - box[:2]).amax() / 2
    level = (reach > torch.tensor(layout.ranges[:-1])).sum()
    away = (points - (box[:2] + box[2:]) / 2).square().sum(1)
    return torch.where(levels == level, away, torch.inf).argmin()
