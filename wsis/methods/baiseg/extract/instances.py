"""Regions of a label map -> instances: class, refinement and score of each.

Shapes: h x w pixels of an image. Each region is handled in its own box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from wsis.evaluation.rle import encode_crop
from wsis.methods.baiseg.extract.seeds import VOID


@dataclass
class Extracted:
    """An instance. mask: compressed COCO RLE; label: class 0..C-1; box: x0 y0 x1 y1, half-open."""

    mask: dict[str, Any]
    label: int
    score: float
    box: tuple[int, int, int, int]


def region_classes(labels: np.ndarray, semantic: np.ndarray) -> np.ndarray:
    """Most frequent semantic value of every region; the smallest of equally frequent ones.

    Args:
        labels: h x w int32, regions 1..N, 0 unlabelled
        semantic: h x w uint8; VOID is not counted

    Returns:
        N int64: value of region 1, 2, ...; 0 for background and for regions with VOID only.
    """
    counted = semantic != VOID
    if not counted.any():
        return np.zeros(int(labels.max(initial=0)), np.int64)
    values = int(semantic[counted].max()) + 1
    number = int(labels.max()) + 1
    # VOID goes to the unlabelled row, which is dropped.
    pairs = labels.astype(np.int64) * values + semantic
    pairs[~counted] = 0
    counts = np.bincount(pairs.ravel(), minlength=number * values).reshape(number, values)
    return counts[1:].argmax(1)


def instances(
    labels: np.ndarray,
    semantic: np.ndarray,
    boundary: np.ndarray | None,
    certainty: np.ndarray | None,
    closing: int | None,
) -> list[Extracted]:
    """The regions whose class is not background, best first.

    Refined, a region is closed by a square and keeps its class's pixels only (Sec. 3.6, "refinement").
    Score (erratum watershed-seeds): mean certainty over the mask's pixels of the class, times one minus
    the mean boundary over the mask; a factor without its map is 1.

    Args:
        labels: h x w int32, regions 1..N, 0 unlabelled
        semantic: h x w uint8
        boundary: h x w float32 in [0, 1] or None
        certainty: h x w float32 in [0, 1] or None
        closing: side of the closing's square in pixels, odd; None: regions as they are
    """
    classes = region_classes(labels, semantic)
    extracted = []
    for region, box in enumerate(ndimage.find_objects(labels), start=1):
        value = classes[region - 1]
        if box is None or value == 0:
            continue
        mask, of_class = labels[box] == region, semantic[box] == value
        if closing is not None:
            mask = closed(mask, closing) & of_class
        score = 1.0
        if certainty is not None:
            score *= float(certainty[box][mask & of_class].mean(dtype=np.float64))
        if boundary is not None:
            score *= 1 - float(boundary[box][mask].mean(dtype=np.float64))
        top, left = box[0].start, box[1].start
        x, y, w, h = cv2.boundingRect(mask.view(np.uint8))
        extracted.append(
            Extracted(
                mask=encode_crop(mask, top, left, *labels.shape),
                label=int(value) - 1,
                score=score,
                box=(left + x, top + y, left + x + w, top + y + h),
            )
        )
    return sorted(extracted, key=lambda instance: -instance.score)


def closed(mask: np.ndarray, side: int) -> np.ndarray:
    """Closing by a square, with nothing outside: h x w bool -> h x w bool."""
    r = side // 2
    padded = cv2.copyMakeBorder(mask.view(np.uint8), r, r, r, r, cv2.BORDER_CONSTANT, value=0)
    padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))
    return padded[r : r + mask.shape[0], r : r + mask.shape[1]].view(bool)
