"""Masks of given boxes: the location of the detector that stands for a box, and its mask.

Shapes: P locations, n boxes of an image, H x W network input, s stride of the mask logits.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou

from wsis.data.structures import Targets
from wsis.losses.detection import assign
from wsis.losses.projection import grid_rectangles, shadows
from wsis.methods.condinst.inference import decoded
from wsis.nn.layout import Layout


def locations_of(
    boxes: Tensor, outputs: dict[str, Tensor], points: Tensor, levels: Tensor, layout: Layout
) -> Tensor:
    """The location of each box, n int64: of its positives, the one whose predicted box overlaps it most.

    Every box is assigned alone, so that none loses its locations to a smaller one. A box without a positive
    (smaller than a cell) takes the location nearest to its centre, at the level of its size.

    Args:
        boxes: n x 4 float32 xyxy pixels of the network input
        outputs: of the head, of one image without a batch dimension
    """
    label = torch.zeros(1, dtype=torch.int64, device=boxes.device)
    positives = assign(points, levels, layout, [Targets(box[None], label) for box in boxes])
    owner, location = positives.image, positives.location
    predicted = decoded(outputs["boxes"][location], points[location], levels[location], layout)
    overlaps = box_iou(predicted, boxes)[torch.arange(len(owner), device=owner.device), owner]
    chosen = []
    for number, box in enumerate(boxes):
        own = (owner == number).nonzero().squeeze(1)
        chosen.append(
            location[own[overlaps[own].argmax()]] if len(own) else _nearest(box, points, levels, layout)
        )
    return torch.stack(chosen) if chosen else location


def _nearest(box: Tensor, points: Tensor, levels: Tensor, layout: Layout) -> Tensor:
    """The location nearest to a box's centre at the first level that is not too fine for half its side."""
    reach = (box[2:] - box[:2]).amax() / 2
    level = (reach > box.new_tensor(layout.ranges[:-1])).sum()
    away = (points - (box[:2] + box[2:]) / 2).square().sum(1)
    return torch.where(levels == level, away, torch.inf).argmin()


def certainties(logits: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """Mean |2p - 1| over the cells of each box: n x H/s x W/s logits, n x 4 boxes of the input -> n float."""
    on_x, on_y = shadows(grid_rectangles(boxes, stride, *logits.shape[1:]), *logits.shape[1:])
    inside = on_y[:, :, None] & on_x[:, None]
    certain = (2 * logits.float().sigmoid() - 1).abs() * inside
    return certain.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
