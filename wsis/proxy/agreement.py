"""Proxy box agreement: IoU of a mask's tight box and the given box, and the drop rule (BoxCaseg, Sec. 3.4).

N objects. Masks are COCO's compressed RLE, bboxes COCO's [x, y, width, height] in pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pycocotools import mask as masks

Convention = Literal["plus_one", "exact"]


def agreements(
    rles: Sequence[dict[str, Any]], bboxes: np.ndarray, convention: Convention = "plus_one"
) -> np.ndarray:
    """IoU of tight mask boxes and given boxes, N float64 in [0, 1]; 0 for an empty mask.

    exact:    both boxes half-open; a perfect mask has 1
    plus_one: as released. A box is its first and last coordinate and has last - first + 1 pixels; the mask's
              last one is its last pixel, the given box's is x + width. A perfect mask of w x h pixels has
              w h / ((w + 1)(h + 1)), so below a width of 20 none is above 0.95.
    """
    if len(rles) == 0:
        return np.zeros(0)
    tight = masks.toBbox(list(rles))
    given = np.asarray(bboxes, dtype=np.float64).reshape(-1, 4)
    longer = float(convention == "plus_one")
    low = np.maximum(tight[:, :2], given[:, :2])
    # The mask's box ends at its last pixel + 1 in either convention, the given one at x + width (+ 1).
    high = np.minimum(tight[:, :2] + tight[:, 2:], given[:, :2] + given[:, 2:] + longer)
    inter = (high - low).clip(min=0).prod(1)
    area = tight[:, 2:].prod(1)
    union = area + (given[:, 2:] + longer).clip(min=0).prod(1) - inter
    return np.where(area > 0, inter / np.maximum(union, np.finfo(np.float64).tiny), 0.0)


def dropped(agreements: np.ndarray, threshold: float | None) -> np.ndarray:
    """Which masks are dropped, N bool: those not strictly above the threshold; at None and 0 none is."""
    if not threshold:  # Table 8: a threshold of 0 has a drop rate of 0
        return np.zeros(len(agreements), bool)
    return ~(np.asarray(agreements) > threshold)
