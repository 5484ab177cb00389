"""Watershed in a band against the whole image."""

import numpy as np
import pytest
from skimage.segmentation import watershed

from tests.methods.baiseg.extract.scenes import noise
from wsis.methods.baiseg.extract.flood import LEVELS, flood, flood_classes, levels


def patches(seed, size, share):
    """Labels 1..6 in blocks of 5 pixels, on a share of them."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 7, tuple(-(-side // 5) for side in size))
    labels = np.kron(blocks, np.ones((5, 5), int))[: size[0], : size[1]]
    coarse = np.kron(rng.random(blocks.shape) < share, np.ones((5, 5), bool))[: size[0], : size[1]]
    return (labels * coarse).astype(np.int32)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("kind", ["smooth", "flat", "two levels"])
def test_the_band_gives_what_the_whole_image_gives(share, kind):
    for seed in range(6):
        labels = patches(seed, (43, 52), share)
        relief = noise(seed, (43, 52)) if kind != "flat" else np.zeros((43, 52), np.float32)
        if kind == "two levels":
            relief = np.round(relief)
        whole = watershed(levels(relief, labels), labels)
        np.testing.assert_array_equal(flood(labels, relief), whole)


def test_without_ties_it_is_the_librarys_watershed_on_the_relief_itself():
    rng = np.random.default_rng(0)
    relief = (rng.permutation(40 * 50).reshape(40, 50) / LEVELS * 20).astype(np.float32)
    assert len(np.unique(np.rint(relief * LEVELS))) == relief.size
    labels = patches(3, (40, 50), 0.3)
    np.testing.assert_array_equal(flood(labels, relief), watershed(relief, labels))


def test_labels_stay_and_everything_is_reached():
    labels, relief = patches(1, (40, 50), 0.2), noise(1, (40, 50))
    grown = flood(labels, relief)
    np.testing.assert_array_equal(grown[labels > 0], labels[labels > 0])
    assert grown.all()
    assert grown.dtype == labels.dtype


def test_nothing_labelled_and_nothing_unlabelled():
    relief = noise(1, (20, 25))
    assert not flood(np.zeros((20, 25), np.int32), relief).any()
    full = np.full((20, 25), 3, np.int32)
    np.testing.assert_array_equal(flood(full, relief), full)


def test_one_pixel():
    assert flood(np.array([[2]], np.int32), np.zeros((1, 1), np.float32)).tolist() == [[2]]
    assert flood(np.array([[0]], np.int32), np.zeros((1, 1), np.float32)).tolist() == [[0]]


def test_the_highest_line_is_where_two_labels_meet():
    relief = np.tile(np.array([0, 0.2, 0.4, 0.9, 0.3, 0.1, 0, 0], np.float32), (5, 1))
    labels = np.zeros((5, 8), np.int32)
    labels[:, 0], labels[:, 7] = 1, 2
    grown = flood(labels, relief)
    assert (grown[:, :3] == 1).all() and (grown[:, 4:] == 2).all()


def test_classes_are_flooded_one_at_a_time():
    rng = np.random.default_rng(4)
    semantic = np.kron(rng.choice([0, 1, 2, 255], (6, 7)), np.ones((8, 8), int)).astype(np.uint8)
    labels = np.where((rng.random(semantic.shape) < 0.05) & (semantic > 0) & (semantic < 255), 1, 0)
    labels = (labels * np.cumsum(labels).reshape(labels.shape)).astype(np.int32)
    relief = noise(4, semantic.shape)
    grown = flood_classes(labels, relief, semantic)
    expected = np.zeros_like(labels)
    for value in (1, 2):
        inside = semantic == value
        seeds = labels * inside
        expected += watershed(levels(relief, seeds), seeds, mask=inside)
    np.testing.assert_array_equal(grown, expected)
    assert not grown[(semantic == 0) | (semantic == 255)].any()
