"""Merging masks run by run against a loop over pixels."""

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.errors import WsisError
from wsis.proxy.merge import _complement, merge


def by_pixel(drawn, beats):
    """Each pixel to the one of its masks that beats the others: beats(i, j), i wins against j."""
    merged = np.zeros_like(drawn)
    for r in range(drawn.shape[1]):
        for c in range(drawn.shape[2]):
            claim = [n for n in range(len(drawn)) if drawn[n, r, c]]
            for n in claim:
                if all(beats(n, other) for other in claim if other != n):
                    merged[n, r, c] = True
    return merged


def decoded(rles, shape):
    return masks.decode(rles).transpose(2, 0, 1).astype(bool) if rles else np.zeros(shape, bool)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("order", ["box", "mask", "larger"])
def test_equals_a_loop_over_pixels(scene_of, rle_of, seed, order):
    drawn, bboxes = scene_of(seed)
    size = drawn.sum((1, 2)) if order == "mask" else bboxes[:, 2] * bboxes[:, 3]
    if order == "larger":
        size = -size
    expected = by_pixel(drawn, lambda i, j: size[i] < size[j] or (size[i] == size[j] and i > j))
    merged = merge([rle_of(m) for m in drawn], bboxes, order)
    assert (decoded(merged, drawn.shape) == expected).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("order", ["box", "mask", "larger", "random"])
def test_masks_become_disjoint_and_cover_the_same(scene_of, rle_of, seed, order):
    drawn, bboxes = scene_of(seed, size=(30, 20), objects=9)
    rng = np.random.default_rng(seed)
    merged = decoded(merge([rle_of(m) for m in drawn], bboxes, order, rng), drawn.shape)
    assert merged.sum(0).max() <= 1
    assert (merged.any(0) == drawn.any(0)).all()
    assert not (merged & ~drawn).any()
    again = merge([rle_of(m) for m in merged], bboxes, order, rng)
    assert (decoded(again, drawn.shape) == merged).all()


def test_a_random_order_is_its_generators(scene_of, rle_of):
    drawn, bboxes = scene_of(3, size=(30, 30), objects=8)
    rles = [rle_of(m) for m in drawn]
    runs = [merge(rles, bboxes, "random", np.random.default_rng(seed)) for seed in (0, 0, 1, 2, 3)]
    assert runs[0] == runs[1]
    assert any(run != runs[0] for run in runs[2:])


def test_a_masks_place_decides_not_its_given_box(rle_of):
    """Masks that overlap although their given boxes don't."""
    first, second = np.zeros((2, 10, 10), bool)
    first[2:6, 2:6] = second[4:8, 4:8] = True
    bboxes = np.array([[0, 0, 1, 1], [8, 8, 2, 2]])
    merged = decoded(merge([rle_of(first), rle_of(second)], bboxes), None)
    assert (merged[0] == first).all()
    assert (merged[1] == (second & ~first)).all()


def test_none_and_one_mask_and_masks_apart_stay_as_they_are(rle_of):
    assert merge([], np.zeros((0, 4))) == []
    pixel, far = np.zeros((2, 5, 6), bool)
    pixel[0, 0] = far[4, 5] = True
    rles = [rle_of(pixel), rle_of(far)]
    assert merge(rles[:1], np.ones((1, 4))) == rles[:1]
    assert merge(rles, np.ones((2, 4))) == rles


def test_text_and_bytes_are_the_same(scene_of, rle_of):
    drawn, bboxes = scene_of(5)
    rles = [rle_of(m) for m in drawn]
    text = [{**rle, "counts": rle["counts"].decode()} for rle in rles]
    assert merge(text, bboxes) == merge(rles, bboxes)


def test_masks_of_two_sizes_are_refused(rle_of):
    with pytest.raises(WsisError, match="differ in size"):
        merge([rle_of(np.ones((3, 4))), rle_of(np.ones((4, 3)))], np.ones((2, 4)))


@pytest.mark.parametrize("seed", range(40))
def test_the_complement_is_what_pycocotools_encodes(rle_of, seed):
    """All numbers of runs, with and without a leading 0, and runs of one to four digits."""
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 400)), int(rng.integers(1, 400)))
    cuts = np.sort(rng.integers(0, size[0] * size[1] + 1, seed % 8))
    flat = np.zeros(size[0] * size[1] + 1, int)
    np.add.at(flat, cuts, 1)
    mask = ((flat.cumsum()[:-1] + seed // 8) % 2).astype(bool).reshape(size, order="F")
    assert _complement(rle_of(mask)) == rle_of(~mask)
