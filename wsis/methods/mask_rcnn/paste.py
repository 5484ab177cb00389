"""Masks of boxes to run-length codes of whole images.

Shapes: N boxes, M x M mask cells of a box, h x w image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.methods.encode import CHUNK, compressed


def paste_masks(logits: Tensor, boxes: Tensor, size: tuple[int, int], padded: bool = False) -> list[dict]:
    """Resize each mask bilinearly to its box, cut at probability 0.5 and compress.

    Probabilities are interpolated between cell centres, constant beyond the outermost ones. A pixel belongs
    to a box when its centre does. Interpolation is separable: two small matrix products a mask.

    Args:
        logits: N x M x M float
        boxes: N x 4 xyxy pixels of the image, half-open
        size: (h, w)
        padded: as in detectron2, beyond the outermost cells probabilities fall to 0, a cell further out

    Returns:
        N compressed RLE dictionaries; one of a box that covers no pixel centre is empty.
    """
    masks = []
    for part, box in zip(
        *(x.split(max(1, CHUNK // (size[0] * size[1]))) for x in (logits, boxes)), strict=True
    ):
        probability = part.float().sigmoid()
        rows, in_rows = _weights(box[:, 1], box[:, 3], size[0], part.shape[-1], padded)
        columns, in_columns = _weights(box[:, 0], box[:, 2], size[1], part.shape[-1], padded)
        if padded:
            full = rows @ probability @ columns.mT >= 0.5
        else:
            full = rows @ (probability - 0.5) @ columns.mT > 0
            full &= in_rows[:, :, None] & in_columns[:, None, :]
        masks += compressed(full)
    return masks


def _weights(low: Tensor, high: Tensor, length: int, cells: int, padded: bool) -> tuple[Tensor, Tensor]:
    """Linear interpolation from cells of the interval [low, high) to pixel centres along one axis.

    low, high: N pixels -> N x length x cells weights, N x length bool of pixels inside. A pixel's weights sum
    to 1, or if `padded` to less beyond the outermost cells.
    """
    centres = torch.arange(length, device=low.device) + 0.5
    low, high = low.float()[:, None], high.float()[:, None]
    place = (centres - low) / (high - low).clamp(min=1e-6) * cells - 0.5
    place = (place if padded else place.clamp(0, cells - 1))[:, :, None]
    weights = (1 - (place - torch.arange(cells, device=low.device)).abs()).clamp(min=0)
    return weights, (centres >= low) & (centres < high)
