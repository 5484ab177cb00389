"""Projection loss (BoxInst, Eqs. 1 to 3): the mask's shadow on each axis must equal the box's.

Shapes: N instances, H x W mask grid. A rectangle is x0, y0, x1, y1 in grid cells, half-open.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import sent
from wsis.losses.dice import dice_loss


def grid_rectangles(boxes: Tensor, stride: int, height: int, width: int, official: bool = False) -> Tensor:
    """The cells of a mask grid that lie in each box: those whose centre does.

    Cell i covers input pixels [stride * i, stride * (i + 1)), the rule by which inference resizes logits. A
    box that covers no centre gets the cell in which the box's centre lies: no instance has an empty target.

    Args:
        boxes: N x 4 float, xyxy pixels of the network input
        official: as the official code does (erratum c5): the box is filled on whole pixels, from that of its
            first to that of its last edge, and a cell is what it is at pixel stride // 2. A box between two
            such pixels has no cell.

    Returns:
        N x 4 int64, x0 y0 x1 y1 in cells, half-open, inside the grid; empty for `official` alone.
    """
    if official:
        low, high = ((edge.floor() - stride // 2) / stride for edge in boxes.split(2, 1))
        limit = torch.tensor([width, height], device=boxes.device)
        first, last = (edge.clamp(min=0).minimum(limit) for edge in (low.ceil(), high.floor() + 1))
        last = torch.where((last > first).all(1, keepdim=True), last, first)
        return torch.cat([first, last], 1).long()
    first = torch.ceil(boxes[:, :2] / stride - 0.5)
    last = torch.ceil(boxes[:, 2:] / stride - 0.5)  # exclusive
    limit = torch.tensor([width, height], device=boxes.device)
    nearest = ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).floor()
    empty = (last <= first) | (first >= limit) | (last <= 0)
    first = torch.where(empty, nearest, first).clamp(min=0).minimum(limit - 1)
    last = torch.where(empty, first + 1, last).minimum(limit).maximum(first + 1)
    return torch.cat([first, last], 1).long()


def grid_masks(masks: Tensor, stride: int, official: bool = False) -> Tensor:
    """Masks on the grid: cells at least half covered. N x SH x SW bool -> N x H x W bool.

    official: cells covered at pixel stride // 2, as in the official code (erratum c4).
    """
    if official:
        return masks[:, stride // 2 :: stride, stride // 2 :: stride]
    return F.avg_pool2d(masks[:, None].float(), stride).squeeze(1) >= 0.5


def shadows(rectangles: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Proj_x(b) and Proj_y(b) of Eq. 2 for box masks b given as rectangles: N x W and N x H bool."""
    x0, y0, x1, y1 = rectangles[:, :, None].unbind(1)
    xs = torch.arange(width, device=rectangles.device)
    ys = torch.arange(height, device=rectangles.device)
    return (xs >= x0) & (xs < x1), (ys >= y0) & (ys < y1)


def projection_loss(logits: Tensor, rectangles: Tensor) -> Tensor:
    """L_proj of Eq. 3 for each instance: dice of both shadows, over the whole image.

    The maximum is taken on logits and then squashed, which is the same and cheaper.

    Args:
        logits: N x H x W float
        rectangles: N x 4 int64 (`grid_rectangles`), on any device

    Returns:
        N float.
    """
    _, height, width = logits.shape
    on_x, on_y = shadows(sent(rectangles, logits.device), height, width)
    x = logits.amax(1).float().sigmoid()  # N x W
    y = logits.amax(2).float().sigmoid()  # N x H
    return dice_loss(x, on_x) + dice_loss(y, on_y)
