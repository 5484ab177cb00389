"""Masks of given boxes, of every kind of method: in their order, inside their boxes, each box for itself."""

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from tests.methods.baiseg import scenes as baiseg
from tests.methods.scenes import recipe
from wsis.data.structures import Instances
from wsis.methods import build_method
from wsis.methods.condinst.fcos import locations
from wsis.methods.condinst.given import locations_of
from wsis.methods.fill import certainties, cut_to_boxes, filled, overlapping
from wsis.nn.layout import TINY

BOXES = [
    [8, 10, 40, 52],
    [30.4, 20.2, 66.7, 60],
    [70, 3, 88.5, 20],
    [5, 5, 6, 6],
    [95, 10, 120, 30],
    [9, 9, 9, 9],
]
METHODS = {
    "boxinst": lambda: recipe(data__eval_short_side=48, data__max_side=64),
    "bbtp": lambda: recipe(method="bbtp", data__eval_short_side=48, data__max_side=64),
    "baiseg": baiseg.recipe,
    "boxes": lambda: recipe(method="boxes"),
}


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(0)
    return {name: build_method(make(), 3).eval() for name, make in METHODS.items()}


def given(net, boxes, labels=None, size=(64, 90), seed=0):
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    labels = np.full(len(boxes), -1, np.int64) if labels is None else np.array(labels, np.int64)
    return net.box_sample(image, seed, np.array(boxes, np.float32).reshape(-1, 4), labels)


@pytest.fixture(autouse=True)
def chosen_threshold(nets):
    nets["baiseg"].threshold = 0.5


@pytest.mark.parametrize("name", METHODS)
def test_every_box_has_a_mask_that_stays_in_it(nets, name):
    net = nets[name]
    (found,) = filled(net, [given(net, BOXES)])
    assert len(found.masks) == len(found.labels) == len(BOXES) and found.annotation_ids == [*range(1, 7)]
    assert ((found.scores >= 0) & (found.scores <= 1)).all() and (found.labels >= 0).all()
    assert found.boxes.tolist() == pytest.approx(np.array(BOXES, np.float32))
    masks = rle.decode(found.masks)
    assert masks.shape == (64, 90, len(BOXES))
    for mask, (x0, y0, x1, y1) in zip(masks.transpose(2, 0, 1), BOXES, strict=True):
        rows, columns = mask.nonzero()
        if len(rows):
            assert x0 - 1 < columns.min() and columns.max() < x1 + 1
            assert y0 - 1 < rows.min() and rows.max() < y1 + 1
    assert not masks[:, :, 4:].any()  # a box outside of the image, and one without an area


@pytest.mark.parametrize("name", METHODS)
def test_masks_depend_on_nothing_but_image_and_box(nets, name):
    net = nets[name]
    both = filled(net, [given(net, BOXES[:3]), given(net, [], seed=1)])
    assert both[1].masks == [] and both[1].boxes.shape == (0, 4)
    order = [2, 0, 1]
    (turned,) = filled(net, [given(net, [BOXES[i] for i in order])])
    assert turned.masks == [both[0].masks[i] for i in order]
    (alone,) = filled(net, [given(net, BOXES[1:2])])
    assert alone.masks == both[0].masks[1:2]


@pytest.mark.parametrize("name", METHODS)
def test_a_given_class_stays_and_another_is_what_the_network_sees(nets, name):
    net = nets[name]
    (found,) = filled(net, [given(net, BOXES[:3], [2, 0, -1])])
    assert found.labels[:2].tolist() == [2, 0]
    if name == "bbtp":  # a mask a class
        (named,) = filled(net, [given(net, BOXES[:3], [2, 0, int(found.labels[2])])])
        assert named.masks == found.masks


def test_a_box_is_given_to_the_positive_that_predicts_it_best():
    points, levels = locations(96, 96, TINY, torch.device("cpu"))
    boxes = torch.tensor([[10.0, 10, 50, 60], [12, 12, 30, 30], [10, 10, 50, 60]])
    strides = torch.tensor(TINY.strides)[levels]
    ltrb = torch.full((len(points), 4), 0.1)  # far too small everywhere
    exact = [  # but at one location in the middle of each
        int(((points - (box[:2] + box[2:]) / 2).abs().amax(1) < 8).logical_and(levels == level).nonzero()[0])
        for box, level in zip(boxes, (1, 0, 1), strict=True)
    ]
    for box, place in zip(boxes, exact, strict=True):
        point = points[place]
        ltrb[place] = torch.cat([point - box[:2], box[2:] - point]) / strides[place]
    found = locations_of(boxes, ltrb, (96, 96), TINY)
    assert found.tolist() == exact and found[0] == found[2]
    small = locations_of(torch.tensor([[41.0, 42, 42, 43]]), ltrb, (96, 96), TINY)
    assert levels[small] == 0 and (points[small] - torch.tensor([41.5, 42.5])).abs().max() <= 4


def test_certainty_is_that_of_the_cells_in_the_box():
    logits = torch.zeros(2, 8, 8)
    logits[0, 2:4, 2:6] = 20.0
    boxes = torch.tensor([[4.0, 4, 12, 8], [4, 4, 12, 12]])
    assert certainties(logits, boxes, 2).tolist() == pytest.approx([1, 0], abs=1e-6)
    assert certainties(logits[[0]], boxes[1:], 2).tolist() == pytest.approx([0.5])


def test_of_found_instances_the_one_with_most_overlap_is_cut_to_the_box():
    net = build_method(recipe(method="boxes"), 3)
    masks = np.zeros((64, 90, 2), np.uint8, order="F")
    masks[10:30, 10:30, 0] = masks[40:60, 40:60, 1] = 1
    boxes = torch.tensor([[10.0, 10, 30, 30], [40, 40, 60, 60]])
    found = Instances(boxes, torch.tensor([1, 2]), torch.tensor([0.9, 0.5]), rle.encode(masks))
    sample = given(net, [[38, 38, 50, 62], [12, 5, 28, 20], [70, 0, 80, 9]])
    chosen = overlapping(sample, found)
    assert [mask.label for mask in chosen] == [2, 1, None] and chosen[0].certainty == 0.5
    assert [int(rle.area(mask.rle)) for mask in chosen] == [20 * 10, 16 * 10, 0]
    assert [
        mask.certainty for mask in overlapping(sample, Instances(boxes[:0], boxes[:0, 0], boxes[:0, 0], []))
    ] == [0] * 3


def test_cutting_is_pixel_by_pixel():
    rng = np.random.default_rng(0)
    masks = np.asfortranarray(rng.integers(0, 2, (40, 50, 6), dtype=np.uint8))
    low = rng.integers(-5, 30, (6, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 30, (6, 2))], 1)
    cut = rle.decode(cut_to_boxes(rle.encode(masks), torch.tensor(boxes, dtype=torch.float32), (40, 50)))
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        expected = np.zeros((40, 50), np.uint8)
        window = slice(max(y0, 0), max(y1, 0)), slice(max(x0, 0), max(x1, 0))
        expected[window] = masks[:, :, i][window]
        assert (cut[:, :, i] == expected).all()
