"""Components, classes, refinement and scores against loops over pixels."""

import numpy as np
import pytest
from pycocotools import mask as masks

from tests.methods.baiseg.extract.scenes import components, noise
from wsis.methods.baiseg.extract.instances import closed, instances, region_classes
from wsis.methods.baiseg.extract.seeds import VOID, literal_seeds, semantic_seeds


def world(seed, size=(30, 37)):
    """A semantic map of blocks (background, three classes, VOID), regions of other blocks, two soft maps."""
    rng = np.random.default_rng(seed)

    def blocks(values, side):
        shape = tuple(-(-length // side) for length in size)
        return np.kron(rng.choice(values, shape), np.ones((side, side), int))[: size[0], : size[1]]

    semantic = blocks([0, 1, 2, 7, VOID], 4).astype(np.uint8)
    labels = blocks(range(7), 6).astype(np.int32)
    return semantic, labels, noise(seed, size), noise(seed + 100, size)


def slow_class(region, semantic):
    """Most frequent value of the region's pixels without VOID; the smallest of several; 0 without any."""
    counts = {}
    for value in semantic[region].tolist():
        if value != VOID:
            counts[value] = counts.get(value, 0) + 1
    return min(counts, key=lambda value: (-counts[value], value), default=0)


def slow_closed(mask, side):
    """A pixel is on if every square around a centre that covers it meets the mask."""
    h, w = mask.shape
    r = side // 2
    on = {(y, x) for y, x in zip(*np.nonzero(mask), strict=True)}
    near = range(-r, r + 1)

    def meets(y, x):
        return any((y + v, x + u) in on for v in near for u in near)

    return np.array(
        [[all(meets(y + v, x + u) for v in near for u in near) for x in range(w)] for y in range(h)], bool
    )


@pytest.mark.parametrize("closing", [None, 1, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_instances_follow_from_their_definition(seed, closing):
    semantic, labels, boundary, certainty = world(seed)
    expected = []
    for number in range(1, labels.max() + 1):
        region = labels == number
        value = slow_class(region, semantic)
        if value == 0:
            continue
        mask = region
        if closing is not None:
            mask = slow_closed(region, closing) & (semantic == value)
        pixels = list(zip(*np.nonzero(mask), strict=True))
        sure = [float(certainty[p]) for p in pixels if semantic[p] == value]
        weak = [float(boundary[p]) for p in pixels]
        score = sum(sure) / len(sure) * (1 - sum(weak) / len(weak))
        ys, xs = zip(*pixels, strict=True)
        expected.append((score, value - 1, (min(xs), min(ys), max(xs) + 1, max(ys) + 1), mask))
    expected.sort(key=lambda entry: -entry[0])
    found = instances(labels, semantic, boundary, certainty, closing)
    assert len(found) == len(expected) > 0
    for instance, (score, label, box, mask) in zip(found, expected, strict=True):
        assert instance.score == pytest.approx(score, abs=1e-9)
        assert (instance.label, instance.box) == (label, box)
        np.testing.assert_array_equal(masks.decode(instance.mask), mask)


@pytest.mark.parametrize("seed", range(4))
def test_classes_are_majorities(seed):
    semantic, labels, _, _ = world(seed)
    expected = [slow_class(labels == number, semantic) for number in range(1, labels.max() + 1)]
    assert region_classes(labels, semantic).tolist() == expected


def test_void_alone_and_background_give_no_class():
    labels = np.array([[1, 1, 2, 2, 3, 3, 4]], np.int32)
    semantic = np.array([[VOID, VOID, 0, 0, 3, VOID, 0]], np.uint8)
    assert region_classes(labels, semantic).tolist() == [0, 0, 3, 0]
    assert region_classes(labels, np.full_like(semantic, VOID)).tolist() == [0, 0, 0, 0]
    assert len(instances(labels, semantic, None, None, None)) == 1


def test_missing_maps_count_one():
    semantic, labels, boundary, certainty = world(1)
    for instance in instances(labels, semantic, None, None, 3):
        assert instance.score == 1
    both = instances(labels, semantic, boundary, np.ones_like(certainty), 3)
    without = instances(labels, semantic, boundary, None, 3)
    assert [i.score for i in both] == pytest.approx([i.score for i in without])


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_literal_seeds_are_the_components(share):
    free = np.random.default_rng(3).random((25, 31)) < share
    labels = literal_seeds(free)
    sets = {frozenset(zip(*np.nonzero(labels == n), strict=True)) for n in range(1, labels.max() + 1)}
    assert sets == {frozenset(component) for component in components(free)}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("min_area", [1, 4, 17])
def test_semantic_seeds_are_the_components_of_each_class(min_area, background):
    rng = np.random.default_rng(5)
    semantic = world(5)[0]
    free = rng.random(semantic.shape) < 0.8
    labels = semantic_seeds(free, semantic, min_area, background)
    expected = {
        frozenset(component)
        for value in (1, 2, 7)
        for component in components(free & (semantic == value))
        if len(component) >= min_area
    }
    if background:
        expected |= {frozenset(component) for component in components(free & (semantic == 0))}
    sets = {frozenset(zip(*np.nonzero(labels == n), strict=True)) for n in range(1, labels.max() + 1)}
    assert sets == expected


@pytest.mark.parametrize("side", [1, 3, 5])
def test_closing_is_that_of_the_plane(side):
    mask = np.random.default_rng(side).random((14, 17)) < 0.3
    mask[:3, :4] = True
    np.testing.assert_array_equal(closed(mask, side), slow_closed(mask, side))
    assert (closed(mask, side) | ~mask).all()
