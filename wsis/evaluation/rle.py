"""COCO's run-length encoding of masks, read without decoding any pixel.

A mask of h x w pixels is read column by column as runs of background, foreground, background, ...
The compressed form writes each run as base-32 digits in ASCII (48 + digit, +32: more digits follow), from
the fourth run on as the difference to the run before the last one.
pycocotools trusts what it is given: a wrong string is read as some other mask, or past its end.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as masks

NO_MASK = "no mask: 'segmentation' is missing or empty"
_MOST_DIGITS = 7  # 35 bits: more than any run that fits an image


def decode_runs(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Run lengths (int64, one dimension) of compressed counts (text) or uncompressed ones (a list).

    Raises ValueError, saying what is wrong, for what is no run-length encoding.
    """
    if isinstance(counts, str | bytes):
        runs = _decompress(counts.encode("utf-8") if isinstance(counts, str) else counts)
    elif isinstance(counts, list) and all(type(run) is int and abs(run) < 2**40 for run in counts):
        runs = np.array(counts, dtype=np.int64)
    else:
        raise ValueError(f"'counts' is neither text nor a list of integers: {str(counts)[:40]!r}")
    if runs.size and runs.min() < 0:
        raise ValueError("'counts' holds a negative run")
    return runs


def check_size(runs: np.ndarray, size: object, expected: tuple[int, int]) -> None:
    """Raise ValueError unless `size` is `expected` [h, w] and the runs add up to h x w pixels."""
    if size != list(expected):
        raise ValueError(f"RLE of size {size}, but the image is {list(expected)} (height, width)")
    if (pixels := int(runs.sum())) != expected[0] * expected[1]:
        raise ValueError(f"RLE covers {pixels} pixels, but the image has {expected[0] * expected[1]}")


def check_outline(segmentation: Any, size: tuple[int, int]) -> None:
    """Raise ValueError unless this is an RLE of the image's size (h, w) or a list of polygons."""
    if not segmentation:
        raise ValueError(NO_MASK)
    if isinstance(segmentation, dict):
        check_size(decode_runs(segmentation.get("counts")), segmentation.get("size"), size)
    elif not isinstance(segmentation, list):
        raise ValueError("'segmentation' is neither polygons nor RLE")
    else:
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError("a polygon needs x, y of three points or more")
            if not all(map(is_number, polygon)):
                raise ValueError("a polygon holds something that is not a finite number")


def is_number(value: Any) -> bool:
    """Whether it is a finite number, and one that fits a float."""
    return type(value) in (int, float) and -sys.float_info.max <= value <= sys.float_info.max


def foreground(runs: np.ndarray) -> int:
    """Pixels of the mask."""
    return int(runs[1::2].sum())


def truth_rle(segmentation: dict | list, size: tuple[int, int]) -> dict:
    """Compressed RLE of a checked ground-truth outline: polygons, uncompressed RLE or compressed RLE."""
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, *size))
    if isinstance(segmentation["counts"], list):
        return masks.frPyObjects(segmentation, *size)
    return segmentation


def _decompress(text: bytes) -> np.ndarray:
    digits = np.frombuffer(text, dtype=np.uint8).astype(np.int64) - 48
    if digits.size == 0:
        return digits
    if digits.min() < 0 or digits.max() > 63:
        raise ValueError("'counts' holds characters outside COCO's RLE alphabet ('0' to 'o')")
    (last,) = (digits < 32).nonzero()
    if last.size == 0 or last[-1] != digits.size - 1:
        raise ValueError("'counts' ends in the middle of a number")
    lengths = last + 1
    lengths[1:] -= lengths[:-1].copy()
    if lengths.max() > _MOST_DIGITS:
        raise ValueError("'counts' holds a number that is too large")
    first = last - lengths + 1
    place = np.arange(digits.size) - np.repeat(first, lengths)
    values = np.add.reduceat((digits & 31) << (5 * place), first)
    values -= ((digits[last] & 16) != 0).astype(np.int64) << (5 * lengths)  # sign of the leading digit
    runs = values.copy()
    runs[1::2] = np.cumsum(values[1::2])
    runs[2::2] = np.cumsum(values[2::2])
    return runs
