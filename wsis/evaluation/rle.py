"""COCO's run-length encoding of masks, read without decoding any pixel, and written of crops.

A mask of h x w pixels is read column by column as runs of background, foreground, background, ...
The compressed form writes each run as base-32 digits in ASCII (48 + digit, +32: more digits follow), from
the fourth run on as the difference to the run before the last one.
pycocotools trusts what it is given: a wrong string is read as some other mask, or past its end.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as masks

from wsis.errors import brief

NO_MASK = "no mask: 'segmentation' is missing or empty"
_MOST_DIGITS = 7  # 35 bits: more than any run that fits an image
_MOST_PIXELS = 2**31  # of an image: pycocotools counts in 32 bits


def decode_runs(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Run lengths (int64, one dimension) of compressed counts (text) or uncompressed ones (a list).

    Raises ValueError, saying what is wrong, for what is no run-length encoding.
    """
    if isinstance(counts, str | bytes):
        return _decompressed([as_bytes(counts) if isinstance(counts, str) else counts])[0]
    if isinstance(counts, list) and all(type(run) is int and abs(run) < _MOST_PIXELS for run in counts):
        return _possible(np.array(counts, dtype=np.int64))
    raise ValueError(f"'counts' is neither text nor a list of integers: {brief(counts)}")


def as_bytes(counts: str) -> bytes:
    """Compressed counts as pycocotools takes them; what is outside of the alphabet stays so."""
    return counts.encode("utf-8", "surrogatepass")


def areas(masks: Collection[tuple[bytes, tuple[int, int]]]) -> np.ndarray:
    """Pixels (N int64) of many masks' foreground, from the compressed counts and the size (h, w) of each.

    Raises ValueError where one is wrong, without saying which: `decode_runs` and `check_pixels` say it.
    """
    runs, starts = _decompressed([counts for counts, _ in masks])
    pixels = np.concatenate([[0], np.cumsum(runs)])[starts]
    if np.diff(pixels).tolist() != [h * w for _, (h, w) in masks]:
        raise ValueError("an RLE covers another number of pixels than its image has")
    place = np.arange(runs.size) - np.repeat(starts[:-1], np.diff(starts))  # of a run within its mask
    runs[place % 2 == 0] = 0  # background
    return np.diff(np.concatenate([[0], np.cumsum(runs)])[starts])


def check_size(size: object, expected: tuple[int, int]) -> None:
    """Raise ValueError unless `size`, which an RLE states, is `expected` [h, w]."""
    if not isinstance(size, list) or size != list(expected) or {*map(type, size)} != {int}:
        raise ValueError(f"RLE of size {brief(size)}, but the image is {list(expected)} (height, width)")


def check_pixels(runs: np.ndarray, size: tuple[int, int]) -> None:
    """Raise ValueError unless the runs add up to h x w pixels."""
    if (pixels := int(runs.sum())) != size[0] * size[1]:
        raise ValueError(f"RLE covers {pixels} pixels, but the image has {size[0] * size[1]}")


def check_outline(segmentation: Any, size: tuple[int, int]) -> None:
    """Raise ValueError unless this is an RLE of the image's size (h, w) or a list of polygons."""
    if not segmentation:
        raise ValueError(NO_MASK)
    if isinstance(segmentation, dict):
        check_size(segmentation.get("size"), size)
        check_pixels(decode_runs(segmentation.get("counts")), size)
    elif not isinstance(segmentation, list):
        raise ValueError("'segmentation' is neither polygons nor RLE")
    else:
        for polygon in segmentation:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError("a polygon needs x, y of three points or more")
            if not all(map(is_number, polygon)):
                raise ValueError("a polygon holds something that is not a finite number")
            if min(polygon) < -max(size) or max(polygon) > 2 * max(size):  # pycocotools walks its outline
                raise ValueError("a polygon lies more than the image's longer side outside of it")


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


def encode_crop(mask: np.ndarray, top: int, left: int, height: int, width: int) -> dict[str, Any]:
    """Compressed RLE of a crop's mask (bool) in an image of height x width, without painting the image."""
    h, w = mask.shape
    columns = np.zeros((w, h + 2), np.int8)  # a column's pixels in a row, between zeros
    columns[:, 1:-1] = mask.T
    column, row = np.nonzero(np.diff(columns, axis=1))
    places = (left + column) * height + top + row
    # A run that goes on at the next column's top: neither its end nor the new start is one.
    joined = np.flatnonzero(places[1:] == places[:-1])
    places = np.delete(places, np.concatenate([joined, joined + 1]))
    runs = np.diff(places, prepend=0).tolist()
    rest = height * width - (int(places[-1]) if len(places) else 0)
    return masks.frPyObjects({"size": [height, width], "counts": runs + [rest] * (rest > 0)}, height, width)


def _decompressed(texts: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """Run lengths of many masks' compressed counts, one after another, and where each mask's begin.

    Returns runs (R int64) and starts (N + 1 int64): those of mask n are runs[starts[n] : starts[n + 1]].
    Raises ValueError, saying what is wrong, where one of the texts is no run-length encoding.
    """
    digits = np.frombuffer(b"".join(texts), dtype=np.uint8) - np.uint8(48)  # what is below '0' wraps around
    if digits.size and digits.max() > 63:
        raise ValueError("'counts' holds characters outside COCO's RLE alphabet ('0' to 'o')")
    if any(text and text[-1] - 48 >= 32 for text in texts):
        raise ValueError("'counts' ends in the middle of a number")
    (last,) = (digits < 32).nonzero()  # the digit of each number that no other follows
    first = np.empty_like(last)
    first[:1], first[1:] = 0, last[:-1] + 1
    more = last - first
    if more.size and more.max() >= _MOST_DIGITS:
        raise ValueError("'counts' holds a number that is too large")
    values = (digits[first] & 31).astype(np.int64)
    for place in range(1, int(more.max(initial=0)) + 1):
        (longer,) = (more >= place).nonzero()
        values[longer] |= (digits[first[longer] + place].astype(np.int64) & 31) << (5 * place)
    (negative,) = (digits[last] & 16 != 0).nonzero()
    values[negative] -= 32 << (5 * more[negative])
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    starts = np.concatenate([[0], np.searchsorted(last, ends)])
    return _possible(_summed(values, starts)), starts


def _possible(runs: np.ndarray) -> np.ndarray:
    """`runs`; ValueError where one is negative, or longer than any image."""
    if runs.size and runs.min() < 0:
        raise ValueError("'counts' holds a negative run")
    if runs.size and runs.max() >= _MOST_PIXELS:
        raise ValueError("'counts' holds a number that is too large")
    return runs


def _summed(values: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Runs from what is written: from a mask's fourth on the differences to the one before the last.

    Every second value is summed over all masks, and what was summed before a mask is taken off again.
    """
    begins, counts = starts[:-1][starts[:-1] < starts[1:]], np.diff(starts)
    firsts = values[begins]
    values[begins] = 0  # the third run is no difference to the first
    sums = np.zeros(values.size + 2, dtype=np.int64)
    sums[2::2], sums[3::2] = np.cumsum(values[0::2]), np.cumsum(values[1::2])
    near, far = sums[starts[:-1] + 1], sums[starts[:-1]]  # of the last and the one before the last value
    for parity in (0, 1):
        before = np.where(starts[:-1] % 2 == parity, far, near)
        sums[2 + parity :: 2] -= np.repeat(before, counts)[parity::2]
    runs = sums[2:]
    runs[begins] = firsts
    return runs
