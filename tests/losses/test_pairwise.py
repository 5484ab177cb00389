"""Pairwise loss against slow and obvious formulations; gradient, flips, empty targets, batches."""

import itertools
import math

import pytest
import torch

from tests.losses.scenes import random_scene
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import ColourEdges, shifted, undirected_offsets
from wsis.losses.pairwise import pairwise_loss
from wsis.losses.plain import plain_pairwise_loss

CASES = list(
    itertools.product([1, 2, 3], [(3, 1), (3, 2), (5, 2)], ["any", "centre"], ["edges", "supervised"])
)


def by_hand(scene, membership, normalise, labels):
    """Eqs. 4, 5 and 8 with loops over pixels and probabilities."""
    edges: ColourEdges = scene["edges"]
    probabilities = scene["logits"].double().sigmoid().tolist()
    masks = scene["masks"].tolist()
    total, members_all, supervised_all, means = 0.0, 0, 0, []
    for n, (x0, y0, x1, y1) in enumerate(scene["rectangles"].tolist()):
        image = int(scene["image_index"][n])
        height, width = edges.valid.shape[1:]
        own, members = 0.0, 0
        for y, x, (k, (dy, dx)) in itertools.product(range(height), range(width), enumerate(edges.offsets)):
            v, u = y + dy, x + dx
            if not (0 <= v < height and 0 <= u < width):
                continue
            ok, ok2 = bool(edges.valid[image, y, x]), bool(edges.valid[image, v, u])
            inside = x0 <= x < x1 and y0 <= y < y1
            inside2 = x0 <= u < x1 and y0 <= v < y1
            if membership == "any":
                weight = int((inside or inside2) and ok and ok2)
            else:
                weight = int(inside and ok2) + int(inside2 and ok)
            members += weight
            p, q = probabilities[n][y][x], probabilities[n][v][u]
            same = p * q + (1 - p) * (1 - q)
            if labels:
                own -= weight * math.log(same if masks[n][y][x] == masks[n][v][u] else 1 - same)
                supervised_all += weight
            elif edges.similar[image, k, y, x]:
                own -= weight * math.log(same)
                supervised_all += weight
        means.append(own / max(members, 1))
        total += own
        members_all += members
    return sum(means) / len(means) if normalise == "edges" else total / max(supervised_all, 1)


def arguments(scene, labels=False):
    keys = ("logits", "rectangles", "image_index", "edges")
    return [scene[key] for key in keys], {"masks": scene["masks"]} if labels else {}


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize(("membership", "normalise"), [("any", "edges"), ("centre", "supervised")])
def test_equals_loops_over_pixels(membership, normalise, labels):
    scene = random_scene(4, count=2, height=7, width=9)
    args, kwargs = arguments(scene, labels)
    expected = by_hand(scene, membership, normalise, labels)
    spec = PairwiseSpec(edges=membership, normalise=normalise)
    assert pairwise_loss(*args, spec, **kwargs).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("seed", "patch", "membership", "normalise"), CASES)
@pytest.mark.parametrize("labels", [False, True])
def test_equals_plain_formulation_with_its_gradient(seed, patch, membership, normalise, labels):
    scene = random_scene(seed, size=patch[0], dilation=patch[1], tau=0.3)
    args, kwargs = arguments(scene, labels)
    results = []
    for loss in (pairwise_loss, plain_pairwise_loss):
        logits = args[0].clone().requires_grad_()
        value = loss(logits, *args[1:], PairwiseSpec(edges=membership, normalise=normalise), **kwargs)
        value.backward()
        results.append((value.detach(), logits.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("labels", [False, True])
def test_gradient_by_finite_differences(labels):
    scene = random_scene(7, count=2, height=6, width=7)
    args, kwargs = arguments(scene, labels)
    logits = args[0].clone().requires_grad_()
    pairwise_loss(logits, *args[1:], **kwargs).backward()
    step = 1e-2
    for index in [(0, 1, 2), (1, 3, 3), (0, 5, 6), (1, 0, 0)]:
        moved = [args[0].clone(), args[0].clone()]
        moved[0][index] -= step
        moved[1][index] += step
        low, high = (pairwise_loss(m, *args[1:], **kwargs).item() for m in moved)
        assert logits.grad[index].item() == pytest.approx((high - low) / (2 * step), abs=1e-4)


def test_flip_equivariance():
    scene = random_scene(5)
    args, kwargs = arguments(scene, labels=True)
    logits, rectangles, index, edges = args
    width = logits.shape[2]
    mirrored = torch.stack(
        [width - rectangles[:, 2], rectangles[:, 1], width - rectangles[:, 0], rectangles[:, 3]], 1
    )
    maps = []
    for dy, dx in edges.offsets:  # the edge (y, x)-(y+dy, x+dx) becomes one with offset (dy, -dx)
        k = edges.offsets.index((dy, -dx)) if (dy, -dx) in edges.offsets else edges.offsets.index((-dy, dx))
        flipped = edges.similar[:, k].flip(2)
        maps.append(flipped if edges.offsets[k] == (dy, -dx) else shifted(flipped, dy, dx))
    turned = ColourEdges(edges.offsets, torch.stack(maps, 1), edges.valid.flip(2))
    for labels in (False, True):
        extra = [{"masks": m} if labels else {} for m in (kwargs["masks"], kwargs["masks"].flip(2))]
        straight = pairwise_loss(*args, **extra[0])
        flipped = pairwise_loss(logits.flip(2), mirrored, index, turned, **extra[1])
        torch.testing.assert_close(straight, flipped, rtol=1e-5, atol=1e-7)


def test_batched_equals_single():
    scene = random_scene(6, count=4)
    (logits, rectangles, index, edges), _ = arguments(scene)
    together = pairwise_loss(logits, rectangles, index, edges)
    alone = [
        pairwise_loss(logits[n : n + 1], rectangles[n : n + 1], index[n : n + 1], edges) for n in range(4)
    ]
    torch.testing.assert_close(together, torch.stack(alone).mean(), rtol=1e-5, atol=1e-7)


def test_weights_are_an_average_over_instances():
    (logits, rectangles, index, edges), _ = arguments(random_scene(6, count=3))
    weights = torch.tensor([0.5, 0.25, 0.25])
    alone = torch.stack([
        pairwise_loss(logits[n : n + 1], rectangles[n : n + 1], index[n : n + 1], edges) for n in range(3)
    ])  # fmt: skip
    weighted = pairwise_loss(logits, rectangles, index, edges, weights=weights)
    torch.testing.assert_close(weighted, (alone * weights).sum(), rtol=1e-5, atol=1e-7)


def test_no_instances_is_zero_with_a_gradient_path():
    (logits, rectangles, index, edges), _ = arguments(random_scene(1))
    empty = logits[:0].clone().requires_grad_()
    loss = pairwise_loss(empty, rectangles[:0], index[:0], edges)
    loss.backward()
    assert loss.item() == 0
    assert empty.grad is not None


def test_confident_uniform_mask_costs_nothing_and_a_cut_costs():
    (_, rectangles, index, edges), _ = arguments(random_scene(2, tau=0.0))
    shape = (len(rectangles), *edges.valid.shape[1:])
    uniform = pairwise_loss(torch.full(shape, 20.0), rectangles, index, edges)
    cut = torch.full(shape, 20.0)
    cut[:, :, ::3] = -20.0
    assert uniform.item() < 1e-6
    assert pairwise_loss(cut, rectangles, index, edges).item() > 1


def test_extreme_logits_stay_finite():
    (logits, rectangles, index, edges), kwargs = arguments(random_scene(2), labels=True)
    for extra in ({}, kwargs):
        big = (logits * 1e4).requires_grad_()
        loss = pairwise_loss(big, rectangles, index, edges, **extra)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(big.grad).all()


@pytest.mark.parametrize(("size", "dilation"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_offsets_are_half_of_the_neighbourhood(size, dilation):
    offsets = undirected_offsets(size, dilation)
    both = {*offsets, *((-dy, -dx) for dy, dx in offsets)}
    reach = [i * dilation for i in range(-(size // 2), size // 2 + 1)]
    assert both == {(y, x) for y in reach for x in reach} - {(0, 0)}
    assert len(offsets) == (size * size - 1) // 2
