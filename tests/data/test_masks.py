"""Masks at the size of the network input, against torch's antialiased resizing of full masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from torch.nn.functional import interpolate

from wsis.data.masks import decode_mask, draw_mask
from wsis.evaluation.rle import truth_rle


def draw_masks(outlines, size, wanted):
    masks = np.zeros((len(outlines), *wanted), bool)
    for mask, outline in zip(masks, outlines, strict=True):
        draw_mask(outline, size, mask)
    return masks


def resized(mask, height, width):
    soft = torch.from_numpy(mask)[None, None].float()
    return (interpolate(soft, (height, width), mode="bilinear", antialias=True)[0, 0] >= 0.5).numpy()


def blob(rng, height, width):
    """An outline with a concave side, its points anywhere in the image."""
    turns = np.linspace(0, 2 * np.pi, 9)[:-1]
    radii = rng.uniform(0.2, 1, 8) * min(height, width) / 3
    centre = rng.uniform(0.3, 0.7, 2) * [width, height]
    return (centre + radii[:, None] * np.stack([np.cos(turns), np.sin(turns)], 1)).ravel().tolist()


def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


@pytest.mark.parametrize(("wanted", "least"), [((200, 300), 0.999), ((193, 290), 0.999), ((60, 90), 0.97)])
def test_they_are_those_of_whole_masks_that_are_resized(wanted, least):
    rng = np.random.default_rng(0)
    outlines = [[blob(rng, 120, 180)] for _ in range(30)]
    runs = [truth_rle(outline, (120, 180)) for outline in outlines]
    masks = draw_masks(outlines, (120, 180), wanted)
    assert masks.dtype == bool and masks.shape == (30, *wanted)
    assert (draw_masks(runs, (120, 180), wanted) == masks).all(), "however a mask is written"
    whole = [resized(decode_mask(outline, 120, 180), *wanted) for outline in outlines]
    assert np.mean([iou(*pair) for pair in zip(masks, whole, strict=True)]) > least


def test_at_their_own_size_nothing_changes():
    rng = np.random.default_rng(1)
    outlines = [[blob(rng, 50, 70), blob(rng, 50, 70)] for _ in range(20)]
    for mask, outline in zip(draw_masks(outlines, (50, 70), (50, 70)), outlines, strict=True):
        assert (mask == rle.decode(truth_rle(outline, (50, 70)))).all()


def test_whole_factors_and_edges():
    blocks = np.zeros((8, 12), np.uint8)
    blocks[2:6, 4:10] = 1
    edges = np.zeros((8, 12), np.uint8)
    edges[[0, -1]] = edges[:, [0, -1]] = 1
    runs = [rle.encode(np.asfortranarray(mask)) for mask in (blocks, edges, edges * 0)]
    half = draw_masks(runs[:1], (8, 12), (4, 6))[0]
    assert half[1:3, 2:5].all() and half.sum() == 6
    twice = draw_masks(runs, (8, 12), (16, 24))
    assert twice[0].sum() == 4 * blocks.sum()
    assert twice[1][[0, -1]].all() and twice[1][:, [0, -1]].all() and not twice[1][2:-2, 2:-2].any()
    assert not twice[2].any()


def test_every_way_of_writing_a_mask_is_decoded():
    mask = np.zeros((9, 7), bool)
    mask[2:6, 1:5] = True
    compressed = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    flat = mask.T.ravel()
    ends = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *ends, flat.size]).tolist()
    square = [1, 2, 5, 2, 5, 6, 1, 6]
    text = {"size": [9, 7], "counts": compressed["counts"].decode()}
    for way in ([square], [square, square], {"size": [9, 7], "counts": runs}, compressed, text):
        assert (decode_mask(way, 9, 7) == mask).all()


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 1, 5, 5]],
        [[1, 1]],
        [[]],
        [5],
        "mask.png",
        {"size": [6, 4], "counts": [24]},
        {"size": [4, 6], "counts": [23]},
        {"counts": "??"},
        {"size": [4, 6]},
    ],
)
def test_a_mask_that_is_none_is_refused(segmentation):
    with pytest.raises(ValueError, match=r"polygon|RLE|counts"):
        decode_mask(segmentation, 4, 6)
