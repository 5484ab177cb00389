"""Masks of a picture's objects at the size that a network gets.

A mask is drawn at the picture's own size, as pycocotools does, and then enlarged bilinearly or shrunk by
averaging; pixels stay that are at least half covered. Nothing changes where the sizes are equal.
h x w picture, H x W network input, N objects.
"""

from __future__ import annotations

import cv2
import numpy as np
from pycocotools import mask as rle

from wsis.evaluation.rle import check_outline, truth_rle

Size = tuple[int, int]
Outline = list | dict  # COCO polygons, uncompressed or compressed RLE
FULL, HALF = np.uint8(255), 128  # values of a pixel that is covered wholly, and by half


def decode_mask(outline: Outline, height: int, width: int) -> np.ndarray:
    """h x w bool. Raises ValueError for what is no outline."""
    return cv2.transpose(_columns(outline, (height, width))[0]).view(bool)


def draw_mask(outline: Outline, size: Size, mask: np.ndarray) -> None:
    """Draw an outline of a picture of `size` (h, w) into an empty mask, H x W bool, where it reaches.

    Raises ValueError for what is no outline.
    """
    columns, (x, y, w, h) = _columns(outline, size)
    height, width = mask.shape
    if not w * h:
        return
    if size == mask.shape:
        rows, across = slice(y, y + h), slice(x, x + w)
        mask[rows, across] = cv2.transpose(columns[across, rows]).view(bool)
        return
    scales = height / size[0], width / size[1]
    rows, across = _reach(y, h, scales[0], height), _reach(x, w, scales[1], width)
    if max(scales) > 1:
        covered = _enlarged(columns, scales, rows, across)
    else:
        covered = cv2.resize(columns * FULL, (height, width), interpolation=cv2.INTER_AREA)[across, rows]
    mask[rows, across] = cv2.transpose(covered) >= HALF


def around(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """xyxy, half-open, around the pixels of a mask (H x W bool); None where it has none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) if len(rows) else None


def _enlarged(columns: np.ndarray, scales: tuple[float, float], rows: slice, across: slice) -> np.ndarray:
    """The window of a bilinearly resized w x h map, computed alone; scales: of height and width."""
    steps = [1 / scale for scale in scales]
    starts = [(part.start + 0.5) * step - 0.5 for part, step in zip((rows, across), steps, strict=True)]
    move = np.array([[steps[0], 0, starts[0]], [0, steps[1], starts[1]]])
    window = (rows.stop - rows.start, across.stop - across.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(columns * FULL, move, window, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def _columns(outline: Outline, size: Size) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """w x h uint8 and the mask's box (x, y, w, h).

    pycocotools writes column by column; OpenCV turns that around ten times faster than numpy.
    """
    check_outline(outline, size)
    runs = truth_rle(outline, size)
    x, y, w, h = rle.toBbox(runs).astype(int).tolist()
    return rle.decode(runs).T, (x, y, w, h)


def _reach(start: int, length: int, scale: float, limit: int) -> slice:
    """Pixels of a resized line that `length` pixels from `start` on of the line before may cover."""
    return slice(max(int((start - 1) * scale), 0), min(int((start + length + 1) * scale) + 1, limit))
