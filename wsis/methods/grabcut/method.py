"""GrabCut (Rother et al., SIGGRAPH 2004) from given boxes, by OpenCV: a baseline without anything to train.

h x w image; boxes are xyxy in pixels of it. Everything outside an object's box is certain background.
"""

from __future__ import annotations

import zlib
from collections import Counter

import cv2
import numpy as np

from wsis.data.structures import BoxMask, BoxSample
from wsis.declare.recipe import Recipe
from wsis.methods.boxcaseg.crops import PixelBox, pixel_box
from wsis.methods.boxes.method import Boxes, encoded, rectangle

ITERATIONS = 5  # of estimating colour models and cutting
MODEL = (1, 65)  # of cv2's colour models: five Gaussians of a weight, a mean and a covariance


class GrabCut(Boxes):
    """Masks by graph cuts between the colours inside a box and those outside it.

    Each mask is determined by the image, its box, its id and the recipe's seed.
    replaced: the number of boxes that became their own masks, by reason: "no background" (the box covers the
    image), "empty" (nothing was found in it), "failed" (OpenCV refused)
    """

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe, num_classes)
        self.replaced: Counter[str] = Counter()
        self.filled = 0

    def _fill(self, sample: BoxSample) -> list[BoxMask]:
        image = np.ascontiguousarray(sample.image.permute(1, 2, 0).cpu().numpy())
        height, width = image.shape[:2]
        threads = cv2.getNumThreads()
        cv2.setNumThreads(1)  # a process a core
        masks = []
        for number, box in zip(sample.annotation_ids, sample.boxes.tolist(), strict=True):
            pixels = pixel_box(box, height, width)
            seed = zlib.crc32(f"{self.recipe.seed}/{number}".encode())
            mask, reason = (None, "") if pixels is None else grab_cut(image, pixels, seed)
            if reason:
                self.replaced[reason] += 1
            if mask is None:
                mask = rectangle(pixels, height, width)
            masks.append(BoxMask(encoded(mask), float(pixels is not None)))
        cv2.setNumThreads(threads)
        self.filled += len(masks)
        return masks

    def remark(self) -> str:
        """How many boxes could not be cut, and why; '' when each was."""
        if not self.replaced:
            return ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.replaced.items()))
        return f"{self.replaced.total()} of {self.filled} boxes became their own masks ({reasons})"


def grab_cut(image: np.ndarray, box: PixelBox, seed: int) -> tuple[np.ndarray | None, str]:
    """The object's h x w uint8 mask inside the pixel box, and ''; or None and the reason why there is none.

    image: h x w x 3 uint8, contiguous. seed: of OpenCV's generator, which starts the colour models.
    """
    x0, y0, x1, y1 = box
    if (x1 - x0, y1 - y0) == (image.shape[1], image.shape[0]):
        return None, "no background"
    labels = np.zeros(image.shape[:2], np.uint8)
    outside, inside = np.zeros(MODEL), np.zeros(MODEL)
    cv2.setRNGSeed(seed & 0x7FFFFFFF)
    try:
        bounds = (x0, y0, x1 - x0, y1 - y0)
        cv2.grabCut(image, labels, bounds, outside, inside, ITERATIONS, cv2.GC_INIT_WITH_RECT)
    except cv2.error:
        return None, "failed"
    mask = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    return (mask, "") if mask.any() else (None, "empty")
