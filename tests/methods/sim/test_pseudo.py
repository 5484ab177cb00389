"""Eqs. 6, 7 and 11, thresholds and W by hand on toy images, and against loops."""

import math
from types import SimpleNamespace

import pytest
import torch

from wsis.methods.sim.pseudo import accumulate, adaptive_thresholds, correct, label, positive_weights

SIZE = 24
BOX_A, BOX_B = (2, 2, 14, 14), (10, 10, 22, 22)  # two objects of one class; each box holds part of the other


def settings(**changes):
    keys = {
        "tau_low": 0.3, "tau_high": 0.7, "adaptive": False, "outside": "background", "labels": True,
        "paste_mask": "pseudo",
    }  # fmt: skip
    return SimpleNamespace(**keys | changes)


RELEASED = settings(tau_low=0.4, tau_high=0.8, adaptive=True, outside="ignored", paste_mask="instance")


def region(x0, y0, x1, y1):
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


def semantic_map(cosines, tau):
    """Eq. 1 given the largest cosine."""
    return (cosines / tau).sigmoid()


def labels_of(probability, spec=None, instance=None, box=(0, 0, SIZE, SIZE), covered=True):
    """Labels of one object."""
    return label(
        probability[None],
        probability[None] if instance is None else instance[None],
        torch.tensor([box]),
        torch.tensor([covered]),
        spec or settings(),
    )


# --- Two overlapping objects of one class (text above Eq. 6) ---


def overlapping():
    """A and B look alike; A lies in front. M_I of A misses a strip of it and is faint on B.

    Returns cosines, M_I of A, and masks: A, B's cells in A's box, the strip, background in A's box.
    """
    a = region(2, 2, 14, 14) & ~region(12, 12, 14, 14)
    b = region(10, 10, 22, 22) & ~a
    strip = region(2, 2, 5, 14) & a
    cosines = torch.full((SIZE, SIZE), -0.9)
    cosines[a | b] = 0.9
    instance = torch.full((SIZE, SIZE), 0.03)
    instance[a] = 0.95
    instance[strip] = 0.45
    instance[b] = 0.05
    box = region(*BOX_A)
    return cosines, instance, a, b & box, strip, box & ~a & ~b


def corrected(cosines, instance, tau, alpha):
    semantic = semantic_map(cosines, tau)
    return correct(semantic[None], torch.tensor([True]), instance[None], alpha)[0]


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_semantic_map_alone_merges_objects_of_one_class(tau):
    cosines, instance, a, other, *_ = overlapping()
    target = labels_of(corrected(cosines, instance, tau, alpha=0.0), box=BOX_A).target[0]
    assert other.sum() > 0
    assert (target == a | other).all()


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_corrected_map_separates_them(tau):
    cosines, instance, a, other, strip, _ = overlapping()
    labels = labels_of(corrected(cosines, instance, tau, alpha=0.5), box=BOX_A)
    target, weight = labels.target[0], labels.weight[0]
    assert not target[other].any()
    if tau == 0.1:  # the strip that M_I misses is recovered
        assert (target == a).all()
    else:  # or at least not labelled as background
        assert (target == a & ~strip).all()
        assert not weight[strip].any()


def test_instance_map_alone_loses_what_it_misses():
    cosines, instance, a, other, strip, background = overlapping()
    labels = labels_of(corrected(cosines, instance, 1.0, alpha=1.0), box=BOX_A)
    assert (labels.target[0] == a & ~strip).all()
    assert labels.weight[0][other | background].all()


def test_a_large_temperature_leaves_no_label_without_the_instance_map():
    """tau = 5: M_S lies in sigma(+-1/5) = .45 .. .55 for every cosine."""
    cosines, instance, *_ = overlapping()
    labels = labels_of(corrected(cosines, instance, 5.0, alpha=0.0))
    assert not labels.weight.any()
    everything = torch.linspace(-1, 1, SIZE * SIZE).view(SIZE, SIZE)
    assert not labels_of(semantic_map(everything, 5.0)).weight.any()


# --- Eq. 6 ---

IOUS = torch.tensor([0.95, 0.90, 0.846, 0.55, 0.50, 0.45])  # the last three anchors are ambiguous


def six_positives():
    """Masks of six positives on three cells: of A, of B, and a hole of the best one in A."""
    probabilities = torch.tensor([[0.95, 0.05, 0.95]] * 3 + [[0.95, 0.95, 0.95]] * 3)
    probabilities[0, 2] = 0.05
    return torch.logit(probabilities)[:, None]


def instance_map(logits, weights, objects, count):
    maps = torch.zeros(count, *logits.shape[1:])
    for chunk in torch.arange(len(logits)).split(4):
        accumulate(maps, logits[chunk], weights[chunk], objects[chunk])
    return maps


@pytest.mark.parametrize("mu", [0.0, 1.0, 5.0, 10.0, 20.0])
def test_instance_map_by_hand(mu):
    powers = [math.exp(mu * iou) for iou in IOUS.tolist()]
    weights = positive_weights(IOUS, torch.zeros(6, dtype=torch.long), 1, mu)
    assert weights.tolist() == pytest.approx([power / sum(powers) for power in powers], rel=1e-4)
    maps = instance_map(six_positives(), weights, torch.zeros(6, dtype=torch.long), 1)
    for cell in range(3):
        column = six_positives()[:, 0, cell].sigmoid().tolist()
        expected = sum(power * m for power, m in zip(powers, column, strict=True)) / sum(powers)
        assert maps[0, 0, cell].item() == pytest.approx(expected, rel=1e-4)


def test_inverted_u_of_mu():
    """A larger mu silences the ambiguous positives, too large a one leaves a single one with its hole."""
    objects = torch.zeros(6, dtype=torch.long)
    maps, largest = [], []
    for mu in (0.0, 1.0, 5.0, 10.0, 20.0):
        weights = positive_weights(IOUS, objects, 1, mu)
        largest.append(weights.max().item())
        maps.append(instance_map(six_positives(), weights, objects, 1)[0, 0])
    own, other, hole = torch.stack(maps).T.tolist()
    assert own == pytest.approx([0.95] * 5)
    assert other == pytest.approx([0.50, 0.41, 0.16, 0.07, 0.05], abs=0.01)
    assert largest[0] == pytest.approx(1 / 6)
    assert largest[-1] == pytest.approx(0.67, abs=0.01)
    assert hole[-1] == pytest.approx(0.35, abs=0.01)
    # Contrast of the least certain cell of A against B is best in between.
    contrast = [min(pair) - b for *pair, b in zip(own, hole, other, strict=True)]
    assert 0 < contrast.index(max(contrast)) < 4
    assert contrast[-1] < contrast[2]


def test_weights_of_each_object_on_its_own():
    g = torch.Generator().manual_seed(0)
    objects = torch.tensor([2, 0, 2, 2, 0, 4, 2])  # object 1 and 3 have no positive
    ious = torch.rand(7, generator=g)
    weights = positive_weights(ious, objects, 5, 5.0)
    for index in (0, 2, 4):
        own = objects == index
        torch.testing.assert_close(weights[own], (5 * ious[own]).softmax(0))
    torch.testing.assert_close(positive_weights(ious, objects, 5, 0.0)[objects == 2], torch.full((4,), 0.25))
    assert positive_weights(ious, objects, 5, 1e4).isfinite().all()
    logits = torch.randn(7, 3, 4, generator=g)
    maps = instance_map(logits, weights, objects, 5)
    assert (maps[[1, 3]] == 0).all()
    torch.testing.assert_close(maps[4], logits[5].sigmoid())
    torch.testing.assert_close(maps[0], weights[1] * logits[1].sigmoid() + weights[4] * logits[4].sigmoid())


def test_no_positives_and_no_objects():
    none = torch.zeros(0, dtype=torch.long)
    for count in (0, 3):
        weights = positive_weights(torch.zeros(0), none, count, 5.0)
        assert weights.shape == (0,)
        maps = torch.zeros(count, 2, 2)
        accumulate(maps, torch.zeros(0, 2, 2), weights, none)
        assert (maps == 0).all()
    for spec in (settings(), RELEASED):
        empty = torch.zeros(0, 4, 5)
        labels = label(empty, empty, torch.zeros(0, 4, dtype=torch.long), none.bool(), spec)
        assert labels.target.shape == labels.weight.shape == labels.paste.shape == (0, 4, 5)
        assert labels.scores.shape == (0,)


def test_half_precision_is_mixed_in_float32():
    logits = torch.randn(6, 3, 4).bfloat16()
    maps = torch.zeros(1, 3, 4)
    weights = positive_weights(IOUS.bfloat16(), torch.zeros(6, dtype=torch.long), 1, 5.0)
    assert weights.dtype == torch.float32
    accumulate(maps, logits, weights, torch.zeros(6, dtype=torch.long))
    expected = (logits.float().sigmoid() * weights[:, None, None]).sum(0)
    torch.testing.assert_close(maps[0], expected)
    assert correct(maps.bfloat16(), torch.tensor([True]), maps.bfloat16(), 0.5).dtype == torch.float32


# --- Eq. 7 ---


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_eq_7(alpha):
    g = torch.Generator().manual_seed(1)
    semantic, instance = torch.rand(2, 3, 4, 5, generator=g)
    known = torch.tensor([True, False, True])
    expected = (1 - alpha) * semantic + alpha * instance
    expected[1] = instance[1]
    torch.testing.assert_close(correct(semantic, known, instance, alpha), expected)


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
