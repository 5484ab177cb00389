"""How patches are cut and normalised, against the paper's listing and slow formulations."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from wsis.data.pixel_boxes import pixel_box
from wsis.methods.boxcaseg.crops import box_label, crop_patch, jittered_box, normalise_patch


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((3, 4, 10, 9), (3, 4, 10, 9)),
        ((3.4, 4.6, 10.4, 9.6), (3, 5, 10, 10)),
        ((-5, -6, 10, 9), (0, 0, 10, 9)),
        ((25, 15, 99, 99), (25, 15, 30, 20)),
        ((7, 7, 8, 8), (7, 7, 8, 8)),
        ((7.6, 7.1, 7.9, 7.3), (8, 7, 9, 8)),  # less than a pixel
        ((29.6, 19.7, 30, 20), (29, 19, 30, 20)),
        ((30, 5, 40, 9), None),  # beside the image
        ((-9, 5, 0, 9), None),
        ((4, 5, 4, 9), None),  # COCO has boxes of height 0
        ((9, 5, 4, 9), None),
        ((math.nan, 5, 4, 9), None),
    ],
)
def test_boxes_in_pixels(box, expected):
    assert pixel_box(box, 20, 30) == expected


def inside(crop, height, width):
    x0, y0, x1, y1 = crop
    return 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height


def test_a_jittered_box_lies_in_the_image_and_meets_its_box():
    rng = np.random.default_rng(0)
    for shift in ("half", "full"):
        for _ in range(3000):
            height, width = rng.integers(1, 40, 2)
            x0, y0 = int(rng.integers(width)), int(rng.integers(height))
            box = (x0, y0, int(rng.integers(x0 + 1, width + 1)), int(rng.integers(y0 + 1, height + 1)))
            crop = jittered_box(box, shift, height, width, rng)
            assert inside(crop, height, width), (box, crop)
            assert box_label(box, crop, 16).any(), (box, crop)


def test_the_jitter_has_the_range_of_paper_and_code():
    """Far from the image's border: shifts and scales as published, seen over many draws."""
    rng, w, h = np.random.default_rng(1), 200, 400
    box = (1000, 1000, 1000 + w, 1000 + h)
    half = np.array([jittered_box(box, "half", 3000, 3000, rng) for _ in range(4000)])
    full = np.array([jittered_box(box, "full", 3000, 3000, rng) for _ in range(4000)])
    for crops, anchor, reach in (
        # half: the centre moves by 0.25 of half the size; full: the corner by 0.25 of the size
        (half, (half[:, :2] + half[:, 2:]) / 2 - (1000 + w / 2, 1000 + h / 2), 0.125),
        (full, full[:, :2] - (1000, 1000), 0.25),
    ):
        moved, scaled = anchor / (w, h), (crops[:, 2:] - crops[:, :2]) / (w, h)
        for values, low, high in ((moved, -reach, reach), (scaled, 0.5, 1.5)):
            assert values.min() == pytest.approx(low, abs=0.02), "reached"
            assert values.max() == pytest.approx(high, abs=0.02)
            assert np.abs(values.mean(0) - (low + high) / 2).max() < 0.02, "and uniform about the middle"
            assert np.abs(values.std(0) - (high - low) / 12**0.5).max() < 0.02
        assert abs(np.corrcoef(scaled.T)[0, 1]) < 0.1, "width and height apart from each other"


def test_labels_are_the_boxs_raster_cut_and_resized_to_nearest_pixels():
    rng = np.random.default_rng(2)
    for _ in range(300):
        height, width, side = (int(v) for v in rng.integers(4, 60, 3))
        xs, ys = (np.sort(rng.choice(n + 1, 2, replace=False)) for n in (width, height))
        box = (int(xs[0]), int(ys[0]), int(xs[1]), int(ys[1]))
        crop = jittered_box(box, "half", height, width, rng)
        raster = np.zeros((height, width), np.uint8)
        raster[box[1] : box[3], box[0] : box[2]] = 1
        places = [Fraction(2 * i + 1, 2 * side) for i in range(side)]
        columns = [crop[0] + math.floor(place * (crop[2] - crop[0])) for place in places]
        rows = [crop[1] + math.floor(place * (crop[3] - crop[1])) for place in places]
        expected = raster[np.ix_(rows, columns)]
        label = box_label(box, crop, side)
        assert label.dtype == np.float32 and label.shape == (side, side)
        assert (label == expected).all()


def test_a_patch_shows_nothing_beyond_its_crop():
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
    crop = (5, 6, 29, 19)
    patch = crop_patch(image, crop, 48)
    assert patch.shape == (48, 48, 3) and patch.dtype == np.uint8
    other = rng.integers(0, 256, image.shape, dtype=np.uint8)
    other[6:19, 5:29] = image[6:19, 5:29]
    assert (crop_patch(other, crop, 48) == patch).all()
    assert (crop_patch(image, (3, 4, 27, 28), 24) == image[4:28, 3:27]).all(), "not touched at its own size"
    assert (crop_patch(image, (7, 7, 8, 8), 5) == image[7, 7]).all(), "one pixel"


def test_the_two_normalisations():
    rng = np.random.default_rng(4)
    patch = rng.integers(0, 201, (2, 3, 5, 5))
    patch[0, 0, 0, 0], patch[1, 1, 1, 1] = 200, 100
    patch[1] = np.minimum(patch[1], 100)
    tensor = torch.from_numpy(patch.astype(np.uint8))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    code = np.array([102.9801, 115.9465, 122.7717])
    columns = (1, 3, 1, 1)
    expected = {
        (False, "two"): (patch - code.reshape(columns)) / 255,
        (True, "two"): (patch / np.array([200, 100]).reshape(2, 1, 1, 1) - mean.reshape(columns))
        / std.reshape(columns),
        (False, "imagenet"): (patch / 255 - mean.reshape(columns)) / std.reshape(columns),
    }
    expected[True, "imagenet"] = expected[False, "imagenet"]
    for (salient, rule), values in expected.items():
        found = normalise_patch(tensor, salient, rule)
        assert found.dtype == torch.float32 and np.abs(found.numpy() - values).max() < 1e-5
        one = normalise_patch(tensor[1], salient, rule)
        assert torch.equal(one, found[1]), "each patch by itself"
    assert normalise_patch(torch.zeros(3, 2, 2), True).isfinite().all(), "a black image"
