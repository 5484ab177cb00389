"""Labels of pseudo masks: thresholds, W and Eq. 11 by hand on toy images, and against loops."""

import math

import pytest
import torch

from tests.methods.sim.maps import RELEASED, SIZE, corrected, labels_of, semantic_map, settings
from wsis.methods.sim.pseudo import adaptive_thresholds, label


@pytest.mark.parametrize("tau", [0.1, 0.5, 1.0, 2.0, 5.0])
def test_semantic_map_is_above_half_where_the_cosine_is_positive(tau):
    cosines = torch.linspace(-1, 1, 202)
    assert ((semantic_map(cosines, tau) > 0.5) == (cosines > 0)).all()


def test_thresholds_of_the_semantic_map_alone():
    """tau = 1, alpha = 0: a label needs |cos| > logit(.7) = .847; nearly nothing is background."""
    cosines = torch.linspace(-1, 1, SIZE * SIZE).view(SIZE, SIZE)
    limit = math.log(0.7 / 0.3)
    assert limit == pytest.approx(0.847, abs=1e-3)
    assert semantic_map(torch.tensor([-1.0, 1.0]), 1.0).tolist() == pytest.approx([0.27, 0.73], abs=0.005)
    labels = labels_of(semantic_map(cosines, 1.0))
    assert (labels.target[0] == (cosines >= limit)).all()
    assert ((labels.weight & ~labels.target)[0] == (cosines <= -limit)).all()


@pytest.mark.parametrize(("low", "limit"), [(0.3, 0.0), (0.4, 0.2)])
def test_background_needs_both_maps(low, limit):
    """alpha = .5: background is M_S + M_I <= 2 tau_low. With M_S = .6 (cos .405), tau_low .3 allows none."""
    cosine = math.log(0.6 / 0.4)
    assert cosine == pytest.approx(0.405, abs=1e-3)
    instance = (torch.arange(1, SIZE * SIZE + 1) / (SIZE * SIZE + 1)).view(SIZE, SIZE)
    probability = corrected(torch.full((SIZE, SIZE), cosine), instance, 1.0, 0.5)
    labels = labels_of(probability, settings(tau_low=low))
    background = (labels.weight & ~labels.target)[0]
    assert (background == (instance <= limit)).all()
    assert background.any() == (limit > 0)


def test_foreground_needs_a_sure_instance_map():
    """alpha = .5, tau = 1: even at cos = 1, M_S = .731, foreground at .7 needs M_I >= .669."""
    instance = torch.linspace(0, 1, SIZE * SIZE).view(SIZE, SIZE)
    probability = corrected(torch.ones(SIZE, SIZE), instance, 1.0, 0.5)
    expected = instance >= 1.4 - 1 / (1 + math.exp(-1))
    assert (labels_of(probability).target[0] == expected).all()


def test_thresholds_themselves_are_labelled():
    """W = 0 where tau_low < M_prob < tau_high, both strict; with .5 and .5 every cell has a label."""
    values = torch.tensor([[0.29, 0.3, 0.31, 0.69, 0.7, 0.71]])
    labels = labels_of(values, box=(0, 0, 6, 1))
    assert labels.weight[0, 0].tolist() == [True, True, False, False, True, True]
    assert labels.target[0, 0].tolist() == [False, False, False, False, True, True]
    values = torch.tensor([[0.4, 0.5, 0.6]])
    labels = labels_of(values, settings(tau_low=0.5, tau_high=0.5), box=(0, 0, 3, 1))
    assert labels.weight.all()
    assert labels.target[0, 0].tolist() == [False, True, True]


# --- W, against loops ---


def random_objects(seed, count=6, height=9, width=11):
    g = torch.Generator().manual_seed(seed)
    probability, instance = torch.rand(2, count, height, width, generator=g)
    low = torch.stack([torch.randint(n - 1, (count,), generator=g) for n in (width, height)], 1)
    size = torch.stack([torch.randint(1, n, (count,), generator=g) for n in (width, height)], 1)
    rectangles = torch.cat([low, torch.minimum(low + size, torch.tensor([width, height]))], 1)
    rectangles[0] = torch.tensor([0, 0, width, height])  # the whole image
    covered = torch.rand(count, generator=g) > 0.3
    covered[0], covered[1] = True, False
    return probability, instance, rectangles, covered


def slow_threshold(probability, instance, box, high):
    """(n + 1)-th largest M_prob in the box, n its cells with M_I > .7; in [.7, high]."""
    x0, y0, x1, y1 = box
    inside = [(y, x) for y in range(y0, y1) for x in range(x0, x1)]
    n = sum(instance[y][x] > 0.7 for y, x in inside)
    ranked = sorted((probability[y][x] for y, x in inside), reverse=True)
    value = ranked[n] if n < len(ranked) else 0.7
    return min(max(value, 0.7), high)


def slow_label(probability, instance, box, covered, spec):
    """target, weight and paste of one object, cell by cell; score."""
    p, m = probability.tolist(), instance.tolist()
    f32 = lambda value: torch.tensor(value).item()  # noqa: E731
    high = slow_threshold(p, m, box, f32(spec.tau_high)) if spec.adaptive else f32(spec.tau_high)
    x0, y0, x1, y1 = box
    target, weight, paste = ([[False] * len(p[0]) for _ in p] for _ in range(3))
    cut = []
    for y in range(len(p)):
        for x in range(len(p[0])):
            inside = x0 <= x < x1 and y0 <= y < y1
            above = p[y][x] > high if spec.adaptive else p[y][x] >= high
            below = p[y][x] <= f32(spec.tau_low)
            on = m[y][x] > f32(0.7) if spec.paste_mask == "instance" else above
            if inside and covered and on:
                paste[y][x] = True
                cut.append(m[y][x] if spec.paste_mask == "instance" else p[y][x])
            if inside and not spec.labels:
                continue
            if inside or spec.outside == "literal":
                target[y][x] = above and covered
                weight[y][x] = (above or below) and covered
            else:
                weight[y][x] = spec.outside == "background"
    score = sum(cut) / max(len(cut) + (spec.paste_mask == "instance"), 1)
    return target, weight, paste, score


@pytest.mark.parametrize("outside", ["background", "ignored", "literal"])
@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize("paste_mask", ["pseudo", "instance"])
def test_labels_by_loops(outside, labelled, adaptive, paste_mask):
    spec = settings(outside=outside, labels=labelled, adaptive=adaptive, paste_mask=paste_mask)
    for tau_low, tau_high in [(0.3, 0.7), (0.4, 0.8), (0.5, 0.5)]:
        spec.tau_low, spec.tau_high = tau_low, tau_high
        objects = random_objects(3)
        labels = label(*objects, spec)
        for k, (p, m, box, covered) in enumerate(zip(*objects, strict=True)):
            target, weight, paste, score = slow_label(p, m, box.tolist(), covered.item(), spec)
            assert labels.target[k].tolist() == target
            assert labels.weight[k].tolist() == weight
            assert labels.paste[k].tolist() == paste
            assert labels.scores[k].item() == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize(
    "spec", [settings(), settings(outside="ignored"), settings(outside="literal"), RELEASED]
)
def test_an_object_without_positives_has_no_label_in_its_box(spec):
    probability, instance, rectangles, _ = random_objects(4)
    labels = label(probability, instance, rectangles, torch.zeros(6, dtype=torch.bool), spec)
    assert not labels.target.any()
    assert not labels.paste.any()
    assert (labels.scores == 0).all()
    for weight, (x0, y0, x1, y1) in zip(labels.weight, rectangles.tolist(), strict=True):
        assert not weight[y0:y1, x0:x1].any()
        assert weight.sum().item() == (weight.numel() - (x1 - x0) * (y1 - y0)) * (
            spec.outside == "background"
        )


def test_the_three_readings_agree_in_the_box_and_on_a_box_of_the_whole_image():
    objects = random_objects(5)
    readings = [label(*objects, settings(outside=o)) for o in ("background", "ignored", "literal")]
    for k, (x0, y0, x1, y1) in enumerate(objects[2].tolist()):
        first, *others = ((r.target[k, y0:y1, x0:x1], r.weight[k, y0:y1, x0:x1]) for r in readings)
        for other in others:
            torch.testing.assert_close(first, other)
    assert objects[2][0].tolist() == [0, 0, 11, 9]
    for reading in readings[1:]:
        assert (reading.weight[0] == readings[0].weight[0]).all()
    outside_background = (readings[0].weight & ~readings[0].target).sum()
    assert outside_background > (readings[2].weight & ~readings[2].target).sum()


# --- The adaptive threshold (S9) ---


def test_adaptive_threshold_keeps_as_many_cells_as_the_instance_map_is_sure_of():
    """Without clamping, n cells are foreground: those with the largest M_prob."""
    g = torch.Generator().manual_seed(6)
    probability = 0.7 + 0.3 * torch.rand(1, 6, 6, generator=g)
    instance = torch.full((1, 6, 6), 0.2)
    instance[0, :2] = 0.9
    inside = torch.ones(1, 6, 6, dtype=torch.bool)
    high = adaptive_thresholds(probability, instance, inside, 1.0)
    chosen = probability[0] > high
    assert chosen.sum() == 12
    assert probability[0][chosen].min() > probability[0][~chosen].max()


@pytest.mark.parametrize(
    ("fill", "n", "expected"), [(0.6, 3, 0.7), (0.75, 3, 0.75), (0.9, 3, 0.8), (0.9, 36, 0.7)]
)
def test_adaptive_threshold_is_clamped(fill, n, expected):
    """To [.7, .8]; a box that M_I fills has no next cell and takes the lower end."""
    instance = torch.zeros(36)
    instance[:n] = 0.9
    high = adaptive_thresholds(
        torch.full((1, 6, 6), fill), instance.view(1, 6, 6), torch.ones(1, 6, 6, dtype=torch.bool), 0.8
    )
    assert high.item() == pytest.approx(expected)


def test_eq_11_by_hand():
    values = torch.tensor([[0.9, 0.8, 0.75, 0.5, 0.95]])
    labels = labels_of(values, box=(0, 0, 4, 1))  # the last cell lies outside the box
    assert labels.scores.item() == pytest.approx((0.9 + 0.8 + 0.75) / 3)
    instance = torch.tensor([[0.6, 0.8, 0.9, 0.1, 0.99]])
    labels = labels_of(values, settings(paste_mask="instance"), instance, box=(0, 0, 4, 1))
    assert labels.paste[0, 0].tolist() == [False, True, True, False, False]
    assert labels.scores.item() == pytest.approx((0.8 + 0.9) / 3)  # released: one more in the denominator
