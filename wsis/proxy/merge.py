"""Contested pixels of an image's proxy masks go to one object: 'smaller object better' (BoxCaseg, Sec. 3.4).

N masks of one image. A mask is COCO's compressed RLE {"size": [h, w], "counts": bytes or str}; bboxes are
COCO's [x, y, width, height] in pixels. No mask is decoded: only those whose tight boxes overlap are merged,
run by run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pycocotools import mask as masks

from wsis.errors import WsisError

RLE = dict[str, Any]
Order = Literal["box", "mask", "random", "larger"]


def merge(
    rles: Sequence[RLE], bboxes: np.ndarray, order: Order = "box", rng: np.random.Generator | None = None
) -> list[RLE]:
    """Give every pixel in several masks to one of them; returns N disjoint masks, counts as bytes.

    bboxes: N x 4, the given boxes (only their areas count, and only for "box" and "larger")
    order:  who wins: "box" the smaller given box (as released), "mask" the smaller mask, "larger" the larger
            box, "random" a permutation drawn from `rng`. Of equal ones the later in the list wins, as when
            masks are painted one over another.

    A mask that is covered wholly becomes empty. Raises WsisError where the masks differ in size.
    """
    rles = [_with_bytes(rle) for rle in rles]
    if len(rles) < 2:
        return rles
    if any(rle["size"] != rles[0]["size"] for rle in rles):
        sizes = sorted({tuple(rle["size"]) for rle in rles})
        raise WsisError(f"masks of one image differ in size (height, width): {sizes}")
    place = _places(rles, bboxes, order, rng)
    low, high = np.split(masks.toBbox(rles), 2, 1)
    high = low + high
    touch = ((low[:, None] < high) & (low < high[:, None])).all(2)
    touch &= place[:, None] < place  # row: who may lose; column: who wins
    outside = {int(winner): _complement(rles[winner]) for winner in np.flatnonzero(touch.any(0))}
    merged = list(rles)
    for loser in np.flatnonzero(touch.any(1)):
        others = [outside[winner] for winner in np.flatnonzero(touch[loser]).tolist()]
        merged[loser] = masks.merge([rles[loser], *others], intersect=True)
    return merged


def _places(
    rles: Sequence[RLE], bboxes: np.ndarray, order: Order, rng: np.random.Generator | None
) -> np.ndarray:
    """When each mask would be painted, N int; the later one wins."""
    if order == "random":
        return rng.permutation(len(rles))
    if order == "mask":
        keys = -masks.area(rles).astype(np.float64)
    else:
        areas = np.asarray(bboxes, dtype=np.float64)[:, 2:].prod(1)
        keys = areas if order == "larger" else -areas
    place = np.empty(len(rles), np.int64)
    place[np.argsort(keys, kind="stable")] = np.arange(len(rles))
    return place


def _with_bytes(rle: RLE) -> RLE:
    counts = rle["counts"]
    counts = counts.encode("ascii") if isinstance(counts, str) else counts
    return {"size": list(rle["size"]), "counts": counts}


def _complement(rle: RLE) -> RLE:
    """The pixels outside a mask: a leading run of 0 is added, or taken away.

    From the fourth on, a run is stored as its difference to the run before the last one. All runs move by
    one place together, so only the run that enters or leaves the first three is stored in another way.
    """
    text = rle["counts"]
    values, ends = _leading(text, 4)
    if values[0] == 0:
        if len(values) > 3:
            text = text[ends[0] : ends[2]] + _number(values[3] + values[1]) + text[ends[3] :]
        else:
            text = text[ends[0] :]
    elif len(values) > 2:
        text = b"0" + text[: ends[1]] + _number(values[2] - values[0]) + text[ends[2] :]
    else:
        text = b"0" + text
    return {"size": rle["size"], "counts": text}


def _leading(text: bytes, count: int) -> tuple[list[int], list[int]]:
    """The first `count` stored numbers (fewer where there are fewer) and where each ends.

    Base-32 digits, the low ones first: ASCII 48 + digit, + 32 where more follow; the last one has the sign.
    """
    values, ends = [], []
    value = shift = 0
    for index, code in enumerate(text):
        digit = code - 48
        value |= (digit & 31) << shift
        shift += 5
        if digit < 32:
            values.append(value - (1 << shift) if digit & 16 else value)
            ends.append(index + 1)
            if len(values) == count:
                break
            value = shift = 0
    return values, ends


def _number(value: int) -> bytes:
    """A number as `_leading` reads it."""
    text = bytearray()
    while True:
        digit, value = value & 31, value >> 5
        done = value == (-1 if digit & 16 else 0)
        text.append(48 + digit + (0 if done else 32))
        if done:
            return bytes(text)
