"""Random scenes for the loss tests."""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import ColourEdges, colour_edges

STRIDE = 2


def random_scene(seed: int, count: int = 5, height: int = 13, width: int = 17, **spec) -> dict:
    """Logits, box rectangles, images and their edges, masks; batch of two images, the second one padded."""
    g = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 40, (2, 3, height * STRIDE, width * STRIDE), generator=g).to(torch.uint8)
    valid = torch.ones(2, height * STRIDE, width * STRIDE, dtype=torch.bool)
    valid[1, :, -6:] = False
    settled = {"tau": 0.1, "colour": "image", "bottom_rows": 0} | spec
    pairwise = PairwiseSpec(**settled)
    low = torch.stack([randint(g, 0, width - 2, count), randint(g, 0, height - 2, count)], 1)
    size = torch.stack([randint(g, 1, width // 2, count), randint(g, 1, height // 2, count)], 1)
    high = torch.minimum(low + size, torch.tensor([width, height]))
    return {
        "logits": torch.randn(count, height, width, generator=g, dtype=torch.float32) * 3,
        "rectangles": torch.cat([low, high], 1),
        "image_index": torch.arange(count) % 2,
        "edges": edges_of(images, valid, pairwise),
        "masks": torch.rand(count, height, width, generator=g) > 0.5,
    }


def edges_of(images: Tensor, valid: Tensor, spec: PairwiseSpec) -> ColourEdges:
    return colour_edges(images, valid, torch.zeros(len(images)), STRIDE, spec)


def randint(g: torch.Generator, low: int, high: int, count: int) -> Tensor:
    return torch.randint(low, high, (count,), generator=g)
