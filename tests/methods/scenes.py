"""Small recipes and batches for the tests of methods."""

from __future__ import annotations

import torch

from wsis.data.structures import Batch, Targets
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe

TINY = {
    "method": "boxinst",
    "data.dataset": "shapes",
    "model": {"backbone": "tiny", "weights": "none", "norm": "batch", "channels": 16, "tower_convs": 1},
    "model.mask_channels": 4,
    "model.head_channels": 4,
    "loss.pairwise": {"warmup": 1, "bottom_rows": 0},
}


def recipe(**overrides) -> Recipe:
    """A tiny BoxInst recipe; keys with a double underscore reach into sections."""
    tree = merged({}, TINY)
    tree = merged(tree, {key.replace("__", "."): value for key, value in overrides.items()})
    return Recipe.model_validate(tree, strict=False).settled()


def batch(
    seed: int = 0, images: int = 2, objects: int = 3, masks: str | None = None, size: int = 64
) -> Batch:
    """Random images with random boxes; masks: None, "all", or "some" (the first object of each image).

    "salient": every other image, the first among them, has one object with a mask and no class, others boxes.
    """
    g = torch.Generator().manual_seed(seed)
    targets = []
    for number in range(images):
        low = torch.rand(objects, 2, generator=g) * (size - 24)
        boxes = torch.cat([low, low + 8 + torch.rand(objects, 2, generator=g) * 14], 1)
        labels = torch.randint(0, 3, (objects,), generator=g)
        if masks is None or (masks == "salient" and number % 2):
            targets.append(Targets(boxes, labels))
            continue
        has_mask = torch.ones(objects, dtype=torch.bool)
        if masks == "some":
            has_mask[1:] = False
        drawn = torch.zeros(objects, size, size, dtype=torch.bool)
        for m, (x0, y0, x1, y1) in zip(drawn, boxes.round().long().tolist(), strict=True):
            m[y0:y1, x0 : (x0 + x1) // 2] = True
        if masks == "salient":
            boxes, labels, drawn, has_mask = boxes[:1], labels[:1] * 0 - 1, drawn[:1], has_mask[:1]
        targets.append(Targets(boxes, labels, drawn & has_mask[:, None, None], has_mask))
    pixels = torch.randint(0, 256, (images, 3, size, size), generator=g).to(torch.uint8)
    valid = torch.ones(images, size, size, dtype=torch.bool)
    return Batch(pixels, valid, torch.ones(images), targets, list(range(images)))


def empty(b: Batch) -> Batch:
    """The same images without objects."""
    none = [Targets(t.boxes[:0], t.labels[:0]) for t in b.targets]
    return Batch(b.images, b.valid, b.scales, none, b.ids)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
