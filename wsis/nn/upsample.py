"""Maps made larger by a whole factor.

Shapes: ... any leading dimensions, H x W a map, f the factor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample(maps: Tensor, factor: int, aligned: bool = False) -> Tensor:
    """B x C x H x W -> B x C x fH x fW, bilinear between cells and constant beyond the outermost ones.

    aligned: a cell's value stands at pixel f // 2 of its f (AdelaiDet), not between its two middle pixels, so
    that everything lies half a pixel further right and down.
    """
    if not aligned:
        return F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    rows, columns = (_weights(side, factor, maps) for side in maps.shape[-2:])
    return rows @ maps @ columns.mT


def _weights(cells: int, factor: int, like: Tensor) -> Tensor:
    """f N x N weights of N cells in each pixel, which sum to 1."""
    pixels = torch.arange(cells * factor, device=like.device)
    place = ((pixels - factor // 2) / factor).clamp(0, cells - 1)[:, None]
    return (1 - (place - torch.arange(cells, device=like.device)).abs()).clamp(min=0).to(like.dtype)
