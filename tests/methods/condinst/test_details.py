"""The official code's rules that `variant: released` takes, each against loops over pixels or boxes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from tests.methods.scenes import recipe
from wsis.data.structures import Targets
from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.specs.predict import PredictSpec
from wsis.losses.colour import ColourEdges, undirected_offsets
from wsis.losses.detection import assign, giou_loss, sampling_centres
from wsis.losses.pairwise import pairwise_loss
from wsis.losses.projection import grid_masks, grid_rectangles, projection_loss
from wsis.methods import build_method
from wsis.methods.condinst.fcos import locations
from wsis.methods.condinst.inference import decode
from wsis.nn.layout import RESNET
from wsis.plan import make_plan

OFFICIAL = replace(RESNET, official=True)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_boxes(count: int, side: int, least: float = 0.5) -> torch.Tensor:
    low = torch.rand(count, 2, generator=draws()) * side * 0.7
    return torch.cat([low, low + least + torch.rand(count, 2, generator=draws(1)) * side * 0.25], 1)


def filled(box: list[float], height: int, width: int) -> torch.Tensor:
    """A box as the official code fills it: on whole pixels, both edges' included."""
    x0, y0, x1, y1 = map(math.floor, box)
    pixels = torch.zeros(height, width, dtype=torch.bool)
    pixels[y0 : y1 + 1, x0 : x1 + 1] = True
    return pixels


def of(method: str = "boxinst", **keys) -> Recipe:
    return parse(Recipe, {"method": method} | keys, "here")


def test_released_sets_the_details_and_paper_does_not():
    assert of().settled().model.details == "own"
    assert of(variant="released").settled().model.details == "official"
    assert of(variant="released", model={"details": "own"}).settled().model.details == "own"
    assert of(variant="released", model={"backbone": "tiny"}).settled().model.details == "own"


def test_the_details_of_the_variant_are_left_out_of_ids():
    assert of(model={"details": "own"}).id == of().id != of(model={"details": "official"}).id
    official = of(variant="released", model={"details": "official"})
    assert of(variant="released").id == official.id != of(variant="released", model={"details": "own"}).id


def test_every_part_of_a_released_network_has_them():
    method = build_method(of(variant="released", model={"weights": "none"}), 2)
    assert method.layout.official and method.head.layout.official and method.mask_branch.aligned
    assert not build_method(recipe(variant="released"), 2).layout.official


def test_boxes_are_those_of_pixels_at_half_a_stride():
    boxes, stride = some_boxes(300, 64), 4
    found = grid_rectangles(boxes, stride, 16, 16, official=True)
    thin = 0
    for box, (x0, y0, x1, y1) in zip(boxes.tolist(), found.tolist(), strict=True):
        cells = filled(box, 64, 64)[stride // 2 :: stride, stride // 2 :: stride]
        expected = torch.zeros_like(cells)
        expected[y0:y1, x0:x1] = True
        assert torch.equal(cells, expected) and 0 <= x0 <= x1 <= 16 and 0 <= y0 <= y1 <= 16
        thin += not cells.any()
    assert thin > 5, "boxes that no cell is of"
    own = grid_rectangles(boxes, stride, 16, 16)
    assert (own[:, 2:] > own[:, :2]).all() and (own != found).any(1).sum() > 50


def test_a_box_without_a_cell_has_no_edge_and_wants_an_empty_mask():
    logits = torch.randn(1, 12, 12, generator=draws()).requires_grad_()
    rectangles = grid_rectangles(torch.tensor([[11.0, 10, 13, 30]]), 4, 12, 12, official=True)
    assert torch.equal(rectangles[:, :2], rectangles[:, 2:])
    offsets = undirected_offsets(3, 2)
    edges = ColourEdges(offsets, torch.ones(1, 4, 12, 12, dtype=torch.bool), torch.ones(1, 12, 12).bool())
    spec = of(variant="released").settled().loss.pairwise
    pairwise_loss(logits, rectangles, torch.tensor([0]), edges, spec).backward()
    assert not logits.grad.any()
    projection_loss(logits, rectangles).sum().backward()
    assert (logits.grad >= 0).all(), "the mask is to be smaller everywhere"


def test_masks_are_read_at_pixels_at_half_a_stride():
    masks = torch.rand(3, 16, 24, generator=draws()) > 0.5
    found = grid_masks(masks, 4, official=True)
    for n in range(3):
        for y in range(4):
            for x in range(6):
                assert found[n, y, x] == masks[n, 4 * y + 2, 4 * x + 2]


def test_centres_are_those_of_pixels():
    boxes = some_boxes(6, 64, 2.0)
    masks = torch.rand(6, 64, 64, generator=draws(2)) > 0.9
    has_mask = torch.tensor([True, True, False, True, False, True])
    masks[~has_mask] = False
    masks[3] = False  # given, and empty
    targets = [
        Targets(boxes[:2], torch.zeros(2).long()),
        Targets(boxes, torch.zeros(6).long(), masks, has_mask),
    ]
    found = sampling_centres(targets, official=True)
    seen = [filled(box, 64, 64) for box in boxes[:2].tolist()]
    for box, mask, given in zip(boxes.tolist(), masks, has_mask, strict=True):
        seen.append(mask if given and mask.any() else filled(box, 64, 64))
    for centre, pixels in zip(found.tolist(), seen, strict=True):
        y, x = pixels.nonzero().double().mean(0).tolist()
        assert centre == pytest.approx([x, y], abs=1e-4)
    own = sampling_centres(targets, official=False)
    assert torch.equal(own[2:], (boxes[:, :2] + boxes[:, 2:]) / 2)


def test_objects_are_detected_near_their_masks():
    """An L whose box's centre it doesn't touch: its positives lie about its own centre, inside of its box."""
    mask = torch.zeros(1, 128, 128, dtype=torch.bool)
    mask[0, 16:112, 16:28], mask[0, 100:112, 16:112] = True, True
    box = torch.tensor([[16.0, 16, 112, 112]])
    target = Targets(box, torch.tensor([0]), mask)
    places = {}
    for layout in (RESNET, OFFICIAL):
        points, levels = locations(128, 128, layout, torch.device("cpu"))
        found = assign(128, 128, layout, [target])
        places[layout.official] = {tuple(points[i].tolist()) for i in found.location}
        y, x = (mask[0].nonzero().float().mean(0) if layout.official else torch.tensor([64.0, 64])).tolist()
        expected = set()
        for point, level in zip(points.tolist(), levels.tolist(), strict=True):
            reach = max(point[0] - 16, point[1] - 16, 112 - point[0], 112 - point[1])
            sized = ([-1, *layout.ranges][level]) <= reach <= layout.ranges[level]
            near = max(abs(point[0] - x), abs(point[1] - y)) < 1.5 * layout.strides[level]
            if sized and near and 16 < point[0] < 112 and 16 < point[1] < 112:
                expected.add(tuple(point))
        assert places[layout.official] == expected and expected
    assert places[True] != places[False]


def test_giou_has_one_more_in_its_iou():
    first, second = (torch.rand(50, 4, generator=draws(s)) * 5 for s in (3, 4))
    for a, b, loss in zip(
        first.tolist(), second.tolist(), giou_loss(first, second, 1.0).tolist(), strict=True
    ):
        (x0, y0, x1, y1), (u0, v0, u1, v1) = ((-q[0], -q[1], q[2], q[3]) for q in (a, b))
        shared = (min(x1, u1) - max(x0, u0)) * (min(y1, v1) - max(y0, v0))
        union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - shared
        hull = (max(x1, u1) - min(x0, u0)) * (max(y1, v1) - min(y0, v0))
        assert loss == pytest.approx(1 - ((shared + 1) / (union + 1) - (hull - union) / hull), abs=1e-5)
    assert (giou_loss(first, second, 1.0) < giou_loss(first, second)).all()


def test_boxes_are_compared_before_they_are_clipped():
    """Inside of the image two boxes are one; only beyond it do they differ."""
    points, levels = locations(64, 64, OFFICIAL, torch.device("cpu"))
    outputs = {
        "logits": torch.full((1, len(points), 1), -20.0),
        "boxes": torch.zeros(1, len(points), 4),
        "centerness": torch.zeros(1, len(points)),
    }
    finest = points[levels == 0].tolist()
    at = [finest.index([52, 52]), finest.index([52, 44])]
    for place, beyond, logit in zip(at, (4.0, 100.0), (6.0, 5.0), strict=True):
        x, y = points[place].tolist()
        outputs["logits"][0, place] = logit
        outputs["boxes"][0, place] = torch.tensor([x - 32, y - 32, 64 + beyond - x, 64 - y]) / 8
    found = {
        layout.official: decode(outputs, points, levels, layout, [(64, 64)], PredictSpec())[0]
        for layout in (RESNET, OFFICIAL)
    }
    assert [len(found[official].boxes) for official in (False, True)] == [1, 2]
    assert torch.equal(found[True].boxes, torch.tensor([[32.0, 32, 64, 64]] * 2))


def test_the_released_rows_are_those_of_the_official_checkpoints():
    """Also where a user asks for the variant: one run serves both, and an imported checkpoint fills it."""
    plain, asked = make_plan("paper"), make_plan("paper", overrides={"variant": "released"})
    ours = plain.row_runs("boxinst/1a", "released, tau = 0.3")
    assert ours == asked.row_runs("boxinst/3", "projection + pairwise")
    assert ours == plain.row_runs("boxinst/3", "released, tau = 0.3")
    same = asked.row_runs("boxinst/1a", "tau = 0.1")
    assert same == plain.row_runs("boxinst/1a", "released, tau = 0.1")
    at_0_1, at_0_3 = (plain.runs[runs[0]].recipe for runs in (same, ours))
    assert (at_0_1.loss.pairwise.tau, at_0_3.loss.pairwise.tau) == (0.1, 0.3)
    assert at_0_1.model.details == "official"
