"""Boxes in whole pixels of an image of h x w.

Boxes are xyxy in pixels, half-open; a *pixel box* is four integers that cover one pixel or more of the image.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

PixelBox = tuple[int, int, int, int]


def pixel_box(box: Iterable[float], height: int, width: int) -> PixelBox | None:
    """The box rounded to pixels and clipped to the image; None where it has no area inside it."""
    x0, y0, x1, y1 = (float(value) for value in box)
    if not (min(x1, width) > max(x0, 0) and min(y1, height) > max(y0, 0)):
        return None
    left, right = pixel_borders(x0, x1, width)
    top, bottom = pixel_borders(y0, y1, height)
    return left, top, right, bottom


def pixel_borders(low: float, high: float, limit: int) -> tuple[int, int]:
    """The nearest pixel borders inside [0, limit], one pixel apart or more."""
    start = int(np.floor(min(max(low, 0), limit - 1) + 0.5))
    return start, max(int(np.floor(min(high, limit) + 0.5)), start + 1)
