"""FCOS assignment and losses by hand, the dynamic head against grouped convolutions, layouts."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from tests.methods.scenes import recipe
from wsis.data.structures import Targets
from wsis.losses.detection import RADIUS, assign, centerness_targets, detection_losses
from wsis.methods.condinst.dynamic_head import dynamic_masks, parameter_count
from wsis.methods.condinst.fcos import FCOSHead, locations, neighbourhoods
from wsis.nn.layout import RESNET, TINY
from wsis.nn.pyramid import Pyramid


def test_locations_are_cell_centres_in_the_heads_order():
    points, levels = locations(96, 64, TINY, torch.device("cpu"))
    expected = [
        (x * s + s // 2, y * s + s // 2, level)
        for level, s in enumerate(TINY.strides)
        for y, x in itertools.product(range(96 // s), range(64 // s))
    ]
    assert [(x, y, level) for (x, y), level in zip(points.tolist(), levels.tolist(), strict=True)] == expected


@pytest.mark.parametrize("layout", [TINY, RESNET])
def test_assignment_by_loops(layout):
    g = torch.Generator().manual_seed(0)
    low = torch.rand(12, 2, generator=g) * 200
    boxes = torch.cat([low, low + 3 + torch.rand(12, 2, generator=g) * 150], 1)
    target = Targets(boxes, torch.arange(12) % 3)
    points, levels = locations(256, 256, layout, torch.device("cpu"))
    found = assign(256, 256, layout, [Targets(boxes[:0], torch.zeros(0, dtype=torch.long)), target])
    expected = {}
    for p, ((x, y), level) in enumerate(zip(points.tolist(), levels.tolist(), strict=True)):
        stride = layout.strides[level]
        low_end = -1 if level == 0 else layout.ranges[level - 1]
        best = math.inf
        for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
            cx, cy, r = (x0 + x1) / 2, (y0 + y1) / 2, RADIUS * stride
            inside = max(cx - r, x0) < x < min(cx + r, x1) and max(cy - r, y0) < y < min(cy + r, y1)
            reach = max(x - x0, y - y0, x1 - x, y1 - y)
            area = (x1 - x0) * (y1 - y0)
            if inside and low_end <= reach <= layout.ranges[level] and area < best:
                best, expected[p] = area, k
    assert dict(zip(found.location.tolist(), found.object.tolist(), strict=True)) == expected
    assert (found.image == 1).all()
    assert (found.ltrb > 0).all()
    assert len(expected) > 10


def test_centerness_is_one_in_the_middle_and_follows_its_definition():
    assert centerness_targets(torch.tensor([[2.0, 3, 2, 3]])).item() == pytest.approx(1)
    assert centerness_targets(torch.tensor([[1.0, 1, 4, 9]])).item() == pytest.approx(math.sqrt(1 / 4 / 9))


def test_detection_losses_by_hand():
    torch.manual_seed(0)
    outputs = {
        "logits": torch.randn(2, 6, 3), "boxes": torch.rand(2, 6, 4) + 0.5, "centerness": torch.randn(2, 6)
    }  # fmt: skip
    positives = assign_stub([(0, 1, 2), (1, 4, 0), (1, 5, 0)])
    losses = detection_losses(outputs, positives)
    total = 0.0
    for b, p, c in itertools.product(range(2), range(6), range(3)):
        q = outputs["logits"][b, p, c].sigmoid().item()
        hit = any((b, p, c) == key for key in [(0, 1, 2), (1, 4, 0), (1, 5, 0)])
        total += -0.25 * (1 - q) ** 2 * math.log(q) if hit else -0.75 * q**2 * math.log(1 - q)
    assert losses["loss_cls"].item() == pytest.approx(total / 3, rel=1e-4)
    weights, boxes = centerness_targets(positives.ltrb), 0.0
    for w, (b, p), t in zip(weights, [(0, 1), (1, 4), (1, 5)], positives.ltrb.tolist(), strict=True):
        left, top, right, bottom = outputs["boxes"][b, p].tolist()
        inter = (min(left, t[0]) + min(right, t[2])) * (min(top, t[1]) + min(bottom, t[3]))
        union = (left + right) * (top + bottom) + (t[0] + t[2]) * (t[1] + t[3]) - inter
        hull = (max(left, t[0]) + max(right, t[2])) * (max(top, t[1]) + max(bottom, t[3]))
        boxes += w.item() * (1 - (inter / union - (hull - union) / hull))
    assert losses["loss_box"].item() == pytest.approx(boxes / weights.sum().item(), rel=1e-4)


def assign_stub(places):
    from wsis.losses.detection import Positives

    image, location, labels = (torch.tensor(column) for column in zip(*places, strict=True))
    ltrb = torch.rand(len(places), 4, generator=torch.Generator().manual_seed(1)) + 0.3
    return Positives(image, location, torch.arange(len(image)), labels, ltrb)


def test_dynamic_head_equals_grouped_convolutions_on_replicated_features():
    torch.manual_seed(0)
    channels, hidden, height, width, count, stride = 6, 5, 8, 7, 4, 4
    features = torch.randn(channels, height, width)
    parameters = torch.randn(count, parameter_count(channels, hidden))
    points, radii = torch.rand(count, 2) * 30, torch.tensor([8.0, 16, 16, 32])
    y, x = torch.meshgrid(torch.arange(height) * stride + 2, torch.arange(width) * stride + 2, indexing="ij")
    expected = []
    for n in range(count):
        relative = torch.stack([points[n, 0] - x, points[n, 1] - y]) / radii[n]
        w1, w2, w3, b1, b2, b3 = parameters[n].split(
            [(channels + 2) * hidden, hidden**2, hidden, hidden, hidden, 1]
        )
        z = torch.cat([relative, features])[None]
        z = F.conv2d(z, w1.reshape(hidden, channels + 2, 1, 1), b1).relu()
        z = F.conv2d(z, w2.reshape(hidden, hidden, 1, 1), b2).relu()
        expected.append(F.conv2d(z, w3.reshape(1, hidden, 1, 1), b3))
    expected = F.interpolate(torch.cat(expected), scale_factor=2, mode="bilinear").squeeze(1)
    found = dynamic_masks(
        features[None], torch.zeros(len(points), dtype=torch.long), parameters, points, radii, TINY, hidden
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("mask", "hidden", "total"), [(8, 8, 169), (16, 8, 233), (16, 16, 593)])
def test_parameter_counts_of_the_known_layouts(mask, hidden, total):
    assert parameter_count(mask, hidden) == total


@pytest.mark.parametrize("backbone", ["tiny", "resnet50"])
def test_pyramid_strides_and_channels(backbone):
    pyramid = Pyramid(recipe(model__backbone=backbone).model).eval()
    features = pyramid(torch.zeros(1, 3, 128, 192, dtype=torch.uint8))
    for i, stride in enumerate(pyramid.layout.strides):
        height, width = -(-128 // stride), -(-192 // stride)
        assert features[f"p{3 + i}"].shape == (1, 16, height, width)
    finest = features[pyramid.layout.mask_inputs[0]]
    assert finest.shape[2] * pyramid.layout.mask_stride == 128
    assert all(features[name].shape[1] == pyramid.channels[name] for name in pyramid.layout.mask_inputs)


def test_head_outputs_line_up_with_locations():
    head = FCOSHead(16, 1, 3, 10, TINY)
    features = {"p3": torch.zeros(2, 16, 12, 8), "p4": torch.zeros(2, 16, 6, 4)}
    features["p4"][1, :, 2, 3] = 5.0  # changes outputs around row 2, column 3 of the second level only
    outputs = head(features)
    points, levels = locations(96, 64, TINY, torch.device("cpu"))
    assert outputs["logits"].shape == (2, len(points), 3)
    changed = (outputs["logits"][0] - outputs["logits"][1]).abs().sum(1) > 1e-7
    x, y = points[changed].T
    assert changed.any()
    assert (levels[changed] == 1).all()
    assert (y - (2 * 16 + 8)).abs().max() <= 3 * 16
    assert (x - (3 * 16 + 8)).abs().max() <= 3 * 16


def test_prior_probability_of_an_untrained_head_is_one_per_cent():
    head = FCOSHead(16, 1, 3, 10, TINY)
    outputs = head({"p3": torch.zeros(1, 16, 4, 4), "p4": torch.zeros(1, 16, 2, 2)})
    assert outputs["logits"].sigmoid().mean().item() == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize("layout", [TINY, RESNET])
@pytest.mark.parametrize("size", [(96, 64), (72, 104)], ids=str)
def test_the_controller_at_chosen_locations_is_its_convolution_there(layout, size):
    """At all locations of all levels, borders and corners too, in any order and more than once."""
    torch.manual_seed(0)
    head = FCOSHead(16, 1, 3, 10, layout)
    torch.nn.init.normal_(head.controller.bias)
    features = {
        f"p{3 + i}": torch.randn(2, 16, -(-size[0] // s), -(-size[1] // s))
        for i, s in enumerate(layout.strides)
    }
    weights = (head.controller.weight, head.controller.bias, *features.values())
    for value in features.values():
        value.requires_grad_()
    dense = []
    for level in features.values():
        grid = F.conv2d(head.box_tower(level), head.controller.weight, head.controller.bias, padding=1)
        dense += [grid[:, :, y, x] for y in range(grid.shape[2]) for x in range(grid.shape[3])]
    dense = torch.stack(dense, 1)  # B x P x T
    around = neighbourhoods(*size, layout, torch.device("cpu"))
    assert len(around) == dense.shape[1] == len(locations(*size, layout, torch.device("cpu"))[0])
    image = torch.arange(2).repeat_interleave(len(around))
    location = torch.arange(len(around)).repeat(2)
    order = torch.cat([torch.randperm(len(image)), torch.randint(len(image), (7,))])
    image, location = image[order], location[order]
    expected = dense[image, location]
    found = head.controller(head(features)["tower"], image, around[location])
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    weighting = torch.randn_like(expected) / len(image)
    gradients = [torch.autograd.grad((value * weighting).sum(), weights) for value in (expected, found)]
    assert all(gradient.abs().max() > 1e-5 for gradient in gradients[0][:3])
    for theirs, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_controller_without_any_location_has_zero_gradients():
    head = FCOSHead(16, 1, 3, 10, TINY)
    outputs = head({"p3": torch.zeros(1, 16, 4, 4), "p4": torch.zeros(1, 16, 2, 2)})
    none = torch.zeros(0, dtype=torch.int64)
    found = head.controller(outputs["tower"], none, none.reshape(0, 9))
    assert found.shape == (0, 10)
    found.sum().backward()
    assert (head.controller.weight.grad == 0).all() and (head.controller.bias.grad == 0).all()
