"""Eqs. 6 and 7 by hand: the instance map, and the semantic map that it corrects."""

import math

import pytest
import torch

from tests.methods.sim.maps import RELEASED, SIZE, corrected, labels_of, semantic_map, settings
from wsis.methods.sim.pseudo import accumulate, correct, label, positive_weights

BOX_A, BOX_B = (2, 2, 14, 14), (10, 10, 22, 22)  # two objects of one class; each box holds part of the other


def region(x0, y0, x1, y1):
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[y0:y1, x0:x1] = True
    return mask


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
