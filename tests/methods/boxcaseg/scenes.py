"""Small BoxCaseg recipes, networks and batches of patches."""

from __future__ import annotations

import torch

from wsis.data.structures import PatchBatch
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.methods.boxcaseg.method import BoxCaseg

TREE = {
    "method": "boxcaseg",
    "data": {"dataset": "shapes", "supervision": "boxes+salient"},
    "model": {"backbone": "tiny", "weights": "none", "neck": "none", "head": "boxcaseg", "norm": "batch"},
    "boxcaseg": {"patch": 48, "side": 48},
}


def recipe(**boxcaseg) -> Recipe:
    """A tiny recipe; keywords are keys of its section `boxcaseg`."""
    tree = merged(merged({}, TREE), {f"boxcaseg.{key}": value for key, value in boxcaseg.items()})
    return Recipe.model_validate(tree, strict=False).settled()


def network(**boxcaseg) -> BoxCaseg:
    torch.manual_seed(0)
    return BoxCaseg(recipe(**boxcaseg), 3)


def batch(weak: int = 2, salient: int = 2, side: int = 48, seed: int = 0) -> PatchBatch:
    """Random pixels; boxes on the weak patches, soft discs on the salient ones."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    box = ((x > 8) & (x < 40) & (y > 12) & (y < 30)).float()
    disc = (1.5 - ((x - 24.0) ** 2 + (y - 24.0) ** 2).sqrt() / 12).clamp(0, 1)
    labels = torch.stack([box] * weak + [disc] * salient) if weak + salient else torch.zeros(0, side, side)
    images = torch.randn(weak + salient, 3, side, side, generator=g) + 2 * labels[:, None]
    flags = torch.tensor([False] * weak + [True] * salient)
    return PatchBatch(images, labels, flags, list(range(weak + salient)))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
