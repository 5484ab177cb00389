"""The box itself as the mask of its object: a baseline of masks of given boxes, without anything to train.

h x w image; boxes are xyxy in pixels of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as rle

from wsis.data.pixel_boxes import PixelBox, pixel_box
from wsis.data.structures import BoxMask, BoxSample
from wsis.declare.recipe import Recipe
from wsis.methods.fill import BoxFiller


class Boxes(BoxFiller):
    """Fills every box entirely. It has no parameters; its recipe's schedule has no iterations."""

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        """num_classes: not used, masks know no class; taken as by every method."""
        super().__init__(recipe)

    def fill(self, samples: Sequence[BoxSample]) -> list[list[BoxMask]]:
        """A mask for each box of each sample, in their order.

        It is empty where a box has no area inside the image.
        """
        return [self._fill(sample) for sample in samples]

    def _fill(self, sample: BoxSample) -> list[BoxMask]:
        height, width = sample.image.shape[1:]
        boxes = [pixel_box(box, height, width) for box in sample.boxes.tolist()]
        return [BoxMask(encoded(rectangle(box, height, width)), float(box is not None)) for box in boxes]


def rectangle(box: PixelBox | None, height: int, width: int) -> np.ndarray:
    """height x width uint8, ones inside the pixel box; zeros for None."""
    mask = np.zeros((height, width), np.uint8)
    if box is not None:
        x0, y0, x1, y1 = box
        mask[y0:y1, x0:x1] = 1
    return mask


def encoded(mask: np.ndarray) -> dict:
    """h x w uint8 of zeros and ones as compressed RLE."""
    return rle.encode(np.asfortranarray(mask))
