"""Batches of images with boxes and of salient images with masks, for BBTP.

Which image is at place p of iteration t, and how it is augmented, depends on the recipe's seed, t and p
alone, as in wsis.data.loading. H x W network input.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from PIL import Image

from wsis.data import placement, transforms
from wsis.data.loading import AUGMENT, ORDER, ImageSource, Shard, check_split, collate, stream
from wsis.data.masks import around
from wsis.data.placement import Placement
from wsis.data.ratio import kind_at
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot, given, read_mask
from wsis.data.structures import Batch
from wsis.data.transforms import View
from wsis.declare.recipe import Recipe

# Images with boxes to salient ones, BoxCaseg's best r_ws (Table 5). It is the share of both in the union of
# VOC's 10,582 images and DUTS-Single's 7991, and does not depend on how many images a user's roots have.
RATIO = (9, 7)
SALIENT = 1  # kind of images; their order is drawn apart
NO_CLASS = -1


def mixed_batches(
    recipe: Recipe, root: Root, salient: SalientRoot | None, shard: Shard = Shard()
) -> Iterator[list[Batch]]:
    """Yield the shard's iterations without end: each is a list of `shard.micro` batches.

    The global batch of recipe.schedule.batch images is split as in `wsis.data.loading.train_batches`. Images
    with boxes are as there, without masks. A salient image is resized and turned as they are; its one object
    has the mask, the box around it and no class (NO_CLASS). An empty mask means that it has no object.
    Raises WsisError where the batch can't be split evenly, there are no salient images, or a file can't be
    read.
    """
    size = recipe.schedule.batch
    check_split(size, "images", shard)
    return stream(_Source(recipe, root, given(salient), shard.workers), size, shard)


class _Source:
    """The images of both kinds and their order."""

    def __init__(self, recipe: Recipe, root: Root, salient: SalientRoot, workers: int) -> None:
        self.recipe, self.salient = recipe, salient
        self.boxed = ImageSource(recipe, root, workers)
        self.order = lru_cache(maxsize=4)(self._order)

    def _order(self, epoch: int) -> np.ndarray:
        """Positions of the salient images in one epoch of theirs, each once."""
        return np.random.default_rng([self.recipe.seed, ORDER, epoch, SALIENT]).permutation(len(self.salient))

    def batch(self, t: int, first: int, images: int) -> Batch:
        """Places first, first + 1, ... of global batch t."""
        drawn = []
        for place in range(first, first + images):
            kind, number = kind_at(t, place, self.recipe.schedule.batch, RATIO)
            rng = np.random.default_rng([self.recipe.seed, AUGMENT, t, place])
            drawn.append((self._salient if kind == SALIENT else self.boxed.drawn)(number, rng))
        views, placements, ids = (list(part) for part in zip(*drawn, strict=True))
        return collate(views, placements, ids)

    def _salient(self, number: int, rng: np.random.Generator) -> tuple[View, Placement, int]:
        """The salient image that is drawn after `number` others, augmented, its placement and position."""
        epoch, place = divmod(number, len(self.salient))
        position = int(self.order(epoch)[place])
        path, mask_path = self.salient.pairs[position]
        mask, data = read_mask(mask_path), self.recipe.data
        image = transforms.read_image(path, *mask.shape)
        placed = placement.drawn(data, *mask.shape, rng)
        view = one_object(placed.image(image), placed.image(mask, Image.Resampling.NEAREST) > 0.5)
        return transforms.augment(view, data.augment, rng), placed, position


def one_object(image: np.ndarray, mask: np.ndarray) -> View:
    """An image with an object of this mask, H x W bool, the tight box around it, and no class."""
    box = around(mask)
    boxes = np.array([] if box is None else box, np.float32).reshape(-1, 4)
    count = len(boxes)
    labels, shown = np.full(count, NO_CLASS, np.int64), np.ones(count, bool)
    return View(image, boxes, labels, mask[None][:count], shown)
