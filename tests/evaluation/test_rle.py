"""Run lengths read from COCO's text against pixels."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.evaluation.rle import (
    areas,
    check_pixels,
    check_size,
    decode_runs,
    encode_crop,
    foreground,
    truth_rle,
)


def runs_of(mask):
    """Column by column, starting with background: an independent, slow reading."""
    runs, value = [0], False
    for pixel in mask.flatten(order="F"):
        if bool(pixel) != value:
            runs.append(0)
            value = not value
        runs[-1] += 1
    return runs


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (90, 130), (700, 2)])
def test_runs_equal_pixels(size, share):
    mask = np.random.default_rng(1).random(size) < share
    text = masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    runs = decode_runs(text)
    assert runs.tolist() == runs_of(mask)
    assert foreground(runs) == mask.sum()
    check_size(list(size), size)
    check_pixels(runs, size)


def test_long_runs():
    mask = np.zeros((3000, 4000), dtype=np.uint8, order="F")
    mask[:, 1999:2003] = 1
    runs = decode_runs(masks.encode(mask)["counts"])
    assert runs.tolist() == [1999 * 3000, 4 * 3000, 1997 * 3000]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ("zzz", "outside"),
        ("9220 03", "outside"),
        ("é", "outside"),
        ("922000P", "middle of a number"),
        ("PPPPPPPP1", "too large"),
        ("N11", "negative"),
        ([3, -1, 2], "negative"),
        ([3.0, 1], "neither"),
        (None, "neither"),
    ],
)
def test_what_is_no_encoding_is_refused(counts, message):
    with pytest.raises(ValueError, match=message):
        decode_runs(counts)


def test_wrong_sizes_are_refused():
    runs = decode_runs([4, 2, 18])
    check_size([4, 6], (4, 6))
    check_pixels(runs, (4, 6))
    for wrong in ([6, 4], [4.0, 6], (4, 6), [4, 6, 1], "46", None, 10**5000):
        with pytest.raises(ValueError, match=r"but the image is \[4, 6\]"):
            check_size(wrong, (4, 6))
    with pytest.raises(ValueError, match="covers 24 pixels, but the image has 30"):
        check_pixels(runs, (5, 6))
    with pytest.raises(ValueError, match="covers 0 pixels"):
        check_pixels(decode_runs(""), (4, 6))


def test_outlines_of_all_three_kinds_are_one_mask():
    mask = np.zeros((8, 9), dtype=np.uint8, order="F")
    mask[2:6, 3:8] = 1
    compressed = masks.encode(mask)
    compressed["counts"] = compressed["counts"].decode()
    uncompressed = {"size": [8, 9], "counts": runs_of(mask)}
    polygon = [[3.0, 2.0, 8.0, 2.0, 8.0, 6.0, 3.0, 6.0]]
    for outline in (compressed, uncompressed, polygon):
        rle = truth_rle(outline, (8, 9))
        assert rle["size"] == [8, 9]
        assert decode_runs(rle["counts"]).tolist() == runs_of(mask)


def test_many_masks_are_read_as_one_by_one():
    """Whatever their numbers of runs, which decide where the sums of the next mask begin."""
    rng = np.random.default_rng(3)
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 40, (300, 2))]
    drawn = [rng.random(size) < rng.choice([0.0, 0.02, 0.5, 1.0]) for size in sizes]
    counts = [masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"] for mask in drawn]
    many = list(zip(counts, sizes, strict=True))
    assert areas(many).tolist() == [int(mask.sum()) for mask in drawn]
    assert areas([]).tolist() == []
    for wrong in (b"", b"32", b"N11", b"zz", b"P", counts[5] + b"1"):
        with pytest.raises(ValueError, match=r"'counts'|pixels"):
            areas([*many[:150], (wrong, (6, 6)), *many[150:]])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_the_crops_code_is_that_of_the_painted_image(share):
    rng = np.random.default_rng(9)
    for _ in range(20):
        height, width = rng.integers(1, 12, 2).tolist()
        top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
        h, w = int(rng.integers(0, height - top + 1)), int(rng.integers(0, width - left + 1))
        mask = rng.random((h, w)) < share
        painted = np.zeros((height, width), np.uint8, order="F")
        painted[top : top + h, left : left + w] = mask
        assert encode_crop(mask, top, left, height, width) == masks.encode(painted)
