"""GrabCut (Rother et al., SIGGRAPH 2004) by OpenCV inside boxes of an image.

h x w image; everything outside an object's box is certain background.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from wsis.data.pixel_boxes import PixelBox, pixel_box
from wsis.methods.boxes.method import encoded, rectangle

ITERATIONS = 5  # of estimating colour models and cutting
MODEL = (1, 65)  # of cv2's colour models: five Gaussians of a weight, a mean and a covariance


@dataclass(frozen=True)
class Cut:
    """The mask of one box: a compressed RLE, empty where the box has no area inside the image.

    reason: why it is the box itself: "no background" (it covers the image), "empty" (nothing was found in
            it), "failed" (OpenCV refused); "" where it was cut
    """

    rle: dict
    inside: bool
    reason: str


def cut_boxes(image: np.ndarray, boxes: Sequence[Sequence[float]], seeds: Sequence[int]) -> list[Cut]:
    """Cut each box of an image; boxes that can't be cut become their own masks.

    image: h x w x 3 uint8; boxes: xyxy pixels of it; seeds: of OpenCV's generator, one a box
    """
    image = np.ascontiguousarray(image)
    height, width = image.shape[:2]
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # a process a core
    cuts = []
    for box, seed in zip(boxes, seeds, strict=True):
        pixels = pixel_box(box, height, width)
        mask, reason = (None, "") if pixels is None else grab_cut(image, pixels, seed)
        if mask is None:
            mask = rectangle(pixels, height, width)
        cuts.append(Cut(encoded(mask), pixels is not None, reason))
    cv2.setNumThreads(threads)
    return cuts


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
