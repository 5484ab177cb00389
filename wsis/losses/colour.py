"""Colour similarity between proximal pixels (BoxInst, Eq. 7), in torch on the images' device.

Shapes: B images, H x W mask grid, S the grid's stride in pixels, K undirected neighbour offsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.colour import RGB_TO_XYZ, WHITE
from wsis.declare.specs.loss import PairwiseSpec


def rgb_to_lab(rgb: Tensor) -> Tensor:
    """CIE Lab of sRGB. rgb: B x 3 x H x W float in [0, 1]; returns the same shape, L in [0, 100]."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    xyz = torch.einsum("ij,bjhw->bihw", _matrix(rgb.dtype, rgb.device), linear)
    f = torch.where(xyz > 0.008856, xyz.clamp(min=1e-9) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


@cache
def _matrix(dtype: torch.dtype, device: torch.device) -> Tensor:
    """Linear RGB to XYZ over that of white, on a device; copied there once."""
    return (torch.tensor(RGB_TO_XYZ, dtype=dtype) / torch.tensor(WHITE, dtype=dtype)[:, None]).to(device)


def lab_on_grid(images: Tensor, stride: int, colour: str) -> Tensor:
    """Lab colour of every mask cell.

    Args:
        images: B x 3 x SH x SW uint8 RGB
        colour: "image" (the paper: Lab of the image, averaged over the cell) or "pooled" (the released code:
            RGB averaged over the cell and truncated to whole grey levels, then Lab); erratum B9

    Returns:
        B x 3 x H x W float32.
    """
    rgb = images.float()
    if colour == "pooled":
        return rgb_to_lab(F.avg_pool2d(rgb, stride).floor() / 255)
    return F.avg_pool2d(rgb_to_lab(rgb / 255), stride)


def undirected_offsets(size: int, dilation: int) -> list[tuple[int, int]]:
    """(dy, dx) of half of the K x K - 1 neighbours: each undirected edge of the graph once."""
    reach = range(-(size // 2), size // 2 + 1)
    return [(dy * dilation, dx * dilation) for dy in reach for dx in reach if (dy, dx) > (0, 0)]


def shifted(grid: Tensor, dy: int, dx: int, fill: float = 0) -> Tensor:
    """`grid[..., y + dy, x + dx]` at [..., y, x], `fill` outside."""
    height, width = grid.shape[-2:]
    result = torch.full_like(grid, fill)
    y, x = slice(max(0, -dy), min(height, height - dy)), slice(max(0, -dx), min(width, width - dx))
    ys, xs = slice(max(0, dy), min(height, height + dy)), slice(max(0, dx), min(width, width + dx))
    result[..., y, x] = grid[..., ys, xs]
    return result


def colour_similarity(lab: Tensor, offsets: list[tuple[int, int]], theta: float) -> Tensor:
    """S_e of Eq. 7 for the edge from each cell to its neighbour at each offset.

    Args:
        lab: B x 3 x H x W

    Returns:
        B x K x H x W float in [0, 1]; 0 where the neighbour lies outside the grid.
    """
    edges = []
    for dy, dx in offsets:
        difference = shifted(lab, dy, dx, fill=torch.inf) - lab
        edges.append((-difference.square().sum(1).sqrt() / theta).exp())
    return torch.stack(edges, 1)


@dataclass
class ColourEdges:
    """What the pairwise loss needs of a batch's images, computed once an image.

    offsets: K undirected (dy, dx)
    similar: B x K x H x W bool, S_e >= tau
    valid:   B x H x W bool, cells of the image proper, without padding and ignored bottom rows
    """

    offsets: list[tuple[int, int]]
    similar: Tensor
    valid: Tensor


@torch.no_grad()
def colour_edges(
    images: Tensor,
    valid: Tensor,
    ignored: Tensor,
    stride: int,
    spec: PairwiseSpec,
    features: Tensor | None = None,
    lab: Tensor | None = None,
) -> ColourEdges:
    """Edges with similar colours (Eq. 8's indicator) for a batch.

    Args:
        images: B x 3 x SH x SW uint8 RGB, padded
        valid: B x SH x SW bool, False on padding
        ignored: B, rows of the input above the padding that have no edges (`Batch.lowest`)
        features: B x D x H x W, whose likeness exp(-||f_i - f_j||) is multiplied with that of the colours
            (SIM's released code, erratum S11)
        lab: `lab_on_grid` of the images, where it is known
    """
    offsets = undirected_offsets(spec.size, spec.dilation)
    with torch.autocast(images.device.type, enabled=False):  # half precision would flip edges near tau
        if lab is None:
            lab = lab_on_grid(images, stride, spec.colour or "image")
        similarity = colour_similarity(lab, offsets, spec.theta)
        if features is not None:
            similarity = similarity * colour_similarity(features.float(), offsets, 1.0)
        similar = similarity >= spec.tau
    cells = valid[:, stride // 2 :: stride, stride // 2 :: stride]
    if spec.bottom_rows:
        last = valid.any(2).sum(1) - ignored  # first ignored row
        y = torch.arange(cells.shape[1], device=cells.device) * stride + stride // 2
        cells = cells & (y[None, :, None] < last[:, None, None])
    return ColourEdges(offsets, similar, cells)
