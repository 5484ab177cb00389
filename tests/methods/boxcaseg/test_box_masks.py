"""Masks of given boxes: stretching, resizing, pasting, chunks, and boxes at and over the border."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import nn

from tests.methods.boxcaseg.scenes import network, recipe
from wsis.data.pixel_boxes import pixel_box
from wsis.data.structures import BoxSample
from wsis.methods.boxcaseg import box_masks
from wsis.methods.boxcaseg.box_masks import box_mask, fill_box, predict_boxes, stretched
from wsis.methods.boxcaseg.crops import crop_patch, normalise_patch


def sample(boxes, height=40, width=56, seed=0):
    g = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=g).to(torch.uint8)
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return BoxSample(image, boxes, torch.zeros(len(boxes), dtype=torch.int64), list(range(len(boxes))), 7)


def grids(n, seed=1, side=12):
    return torch.randn(n, side, side, generator=torch.Generator().manual_seed(seed)) * 3


def test_the_threshold_lies_between_the_smallest_and_the_largest_probability():
    logits = grids(1)[0] * 0.1 - 4  # nowhere near one half
    p = logits.sigmoid()
    low, high = p.min(), p.max()
    found = fill_box(logits, 12, 12)
    assert torch.equal(found, (p - low) / (high - low) > 0.5)
    assert found.any()
    assert not found.all()


def test_stretching_reaches_both_ends_and_leaves_a_constant_map():
    x = stretched(torch.tensor([[0.2, 0.3], [0.4, 0.25]]))
    torch.testing.assert_close(x, torch.tensor([[0.0, 0.5], [1.0, 0.25]]))
    for value, full in ((-30.0, False), (-1.0, False), (1.0, True), (30.0, True), (200.0, True)):
        found = fill_box(torch.full((12, 12), value), 5, 7)
        assert found.shape == (5, 7)
        assert (found == full).all()


@pytest.mark.parametrize("size", [(12, 12), (40, 31), (5, 9), (1, 1), (1, 30), (3, 2)])
def test_resizing_agrees_with_pillow(size):
    """Pillow's bilinear filter on 8 bits is what the released code uses: equal but within a grey level."""
    logits = grids(1, seed=sum(size))[0]
    grey = Image.fromarray((stretched(logits.sigmoid()).numpy() * 255).round().astype(np.uint8))
    resized = np.asarray(grey.resize(size[::-1], Image.Resampling.BILINEAR)).astype(int)
    found = fill_box(logits, *size).numpy()
    sure = np.abs(resized - 127.5) > 2
    assert (found == (resized > 127))[sure].all()
    assert sure.mean() > 0.5 or size == (1, 1)


def test_masks_lie_where_their_boxes_are():
    logits = grids(3)
    boxes = [(0, 0, 56, 40), (5, 7, 20, 30), (55, 39, 56, 40)]
    for grid, box in zip(logits, boxes, strict=True):
        mask = box_mask(grid, box, (40, 56)).rle
        x0, y0, x1, y1 = box
        expected = np.zeros((40, 56), np.uint8)
        expected[y0:y1, x0:x1] = fill_box(grid, y1 - y0, x1 - x0).numpy()
        assert mask["size"] == [40, 56]
        assert np.array_equal(rle.decode(mask), expected)


def test_no_boxes():
    assert predict_boxes(network().eval(), [sample([])], recipe().boxcaseg) == [[]]


BOXES = [
    [10, 5, 40, 35],
    [12, 6, 13, 7],  # one pixel
    [20.2, 10.3, 20.4, 10.6],  # less than one
    [-15, -10, 20, 18],  # partly outside
    [50, 30, 80, 70],
    [60, 5, 70, 20],  # wholly outside
    [-9, 0, -1, 10],
    [10, 10, 10, 20],  # no area
    [0, 0, 56, 40],  # the image
]


def test_predicted_masks_stay_in_their_boxes():
    net, spec, given = network().eval(), recipe().boxcaseg, sample(BOXES)
    found = [made.rle for made in predict_boxes(net, [given], spec)[0]]
    assert len(found) == len(BOXES)
    for mask, box in zip(found, BOXES, strict=True):
        assert mask["size"] == [40, 56]
        inside = pixel_box(box, 40, 56)
        decoded = rle.decode(mask).astype(bool)
        if inside is None:
            assert not decoded.any()
            continue
        x0, y0, x1, y1 = inside
        outside = decoded.copy()
        outside[y0:y1, x0:x1] = False
        assert not outside.any()
    areas = rle.area(found)
    assert areas[0] > 0
    assert areas[8] > 0
    assert list(areas[5:8]) == [0, 0, 0]


@pytest.mark.parametrize("rule", ["two", "imagenet"])
def test_prediction_is_crop_normalise_predict_paste(rule):
    net, given = network(normalise=rule).eval(), sample(BOXES[:1])
    cut = crop_patch(given.image.permute(1, 2, 0).numpy(), (10, 5, 40, 35), 48)
    patch = torch.tensor(cut).permute(2, 0, 1)[None]
    with torch.no_grad():
        logits = net.logits(net.backbone(normalise_patch(patch, False, rule)))
    expected = np.zeros((40, 56), np.uint8, order="F")
    expected[5:35, 10:40] = fill_box(logits[0], 30, 30)
    ((found,),) = predict_boxes(net, [given], recipe(normalise=rule).boxcaseg)
    assert found.rle == rle.encode(expected)
    probabilities = [1 / (1 + math.exp(-x)) for x in logits.flatten().tolist()]  # before they are stretched
    certainty = sum(abs(2 * p - 1) for p in probabilities) / len(probabilities)
    assert found.certainty == pytest.approx(certainty, rel=1e-5)


def test_a_box_outside_the_image_is_not_certain():
    found = predict_boxes(network().eval(), [sample([[60, 5, 70, 20], [10, 5, 40, 35]])], recipe().boxcaseg)[
        0
    ]
    assert found[0].certainty == 0
    assert 0 < found[1].certainty < 1


def test_chunks_change_nothing(monkeypatch):
    net, spec, given = network().eval(), recipe().boxcaseg, sample(BOXES * 2)
    whole = predict_boxes(net, [given], spec)[0]
    sizes = []
    original = net.logits
    monkeypatch.setattr(net, "logits", lambda features: sizes.append(len(features)) or original(features))
    monkeypatch.setattr(box_masks, "CHUNK", 4 * 48 * 48)
    chunked = predict_boxes(net, [given], spec)[0]
    assert [made.rle for made in chunked] == [made.rle for made in whole]
    assert sizes == [4, 4, 4]


def test_a_network_of_constant_output_is_handled():
    class Constant(nn.Module):
        backbone = torch.nn.Identity()

        def of_base(self, images, compute, *what):
            return compute()

        def __init__(self, value):
            super().__init__()
            self.value = nn.Parameter(torch.tensor(value))

        def logits(self, patches):
            return self.value.expand(len(patches), 24, 24)

    for value, area in ((-50.0, 0), (50.0, 30 * 30)):
        ((made,),) = predict_boxes(Constant(value), [sample(BOXES[:1])], recipe().boxcaseg)
        assert rle.area(made.rle) == area
        assert made.certainty == 1
