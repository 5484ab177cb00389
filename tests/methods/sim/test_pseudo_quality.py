"""Scores of pseudo masks against loops over objects, thresholds and pairs of cells."""

import numpy as np
import pytest

from wsis.methods.sim.pseudo_quality import BINS, Cells, LabelScores, MapScores, overlapping


def objects(seed, count=5, cells=40):
    """Cells of some objects, and a map that knows something of the truth and has ties."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(count), rng.integers(5, cells, count))
    truth = rng.random(len(owner)) < 0.5
    truth[np.unique(owner, return_index=True)[1]] = True
    values = np.clip(rng.normal(0.4 + 0.2 * truth, 0.25), 0, 1).round(2).astype(np.float32)
    return values, Cells(truth, owner, rng.random(count) < 0.5)


def score(values, cells, scored=None):
    scores = MapScores()
    scores.add(values, cells, scored)
    return scores.result()


def auc_by_pairs(values, truth):
    pairs = [(p > n) + 0.5 * (p == n) for p in values[truth] for n in values[~truth]]
    return 100 * np.mean(pairs)


def iou_by_sets(values, cells, threshold, chosen):
    found = []
    for g in chosen:
        mine = np.flatnonzero(cells.owner == g)
        predicted = {i for i in mine if float(values[i]) > threshold}
        true = {i for i in mine if cells.truth[i]}
        found.append(len(predicted & true) / len(predicted | true))
    return 100 * np.mean(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("subset", ["all", "overlap"])
def test_maps_equal_loops_over_pairs_objects_and_thresholds(seed, subset):
    values, cells = objects(seed)
    cells.overlap[0] = True
    chosen = [g for g in range(5) if subset == "all" or cells.overlap[g]]
    inside = np.isin(cells.owner, chosen)
    found = score(values, cells)[subset]
    assert found["objects"] == len(chosen)
    assert found["AUC"] == pytest.approx(auc_by_pairs(values[inside], cells.truth[inside]), abs=1e-9)
    assert found["IoU"] == pytest.approx(iou_by_sets(values, cells, 0.5, chosen))
    best = max(iou_by_sets(values, cells, i / 100, chosen) for i in range(101))
    assert found["best"] == pytest.approx(best)


def test_cells_at_a_threshold_are_not_above_it():
    cells = Cells(np.array([True, False]), np.array([0, 0]), np.array([False]))
    assert score(np.array([0.5, 0.2], np.float32), cells)["all"]["IoU"] == 0
    assert score(np.array([0.500001, 0.5], np.float32), cells)["all"]["IoU"] == 100


def test_perfect_inverted_and_constant_maps():
    _, cells = objects(0)
    perfect = cells.truth.astype(np.float32)
    assert score(perfect, cells)["all"] == {"objects": 5, "IoU": 100, "best": 100, "AUC": 100}
    inverted = score(1 - perfect, cells)["all"]
    assert (inverted["IoU"], inverted["AUC"]) == (0, 0)
    box = np.mean([cells.truth[cells.owner == g].mean() for g in range(5)])
    constant = score(np.full(len(perfect), 0.7, np.float32), cells)["all"]
    assert constant["AUC"] == pytest.approx(50)
    assert constant["IoU"] == pytest.approx(100 * box)  # the whole box is foreground


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0, 5.0])
def test_a_temperature_leaves_the_auc_alone(temperature):
    """It is a monotone map of the cosine: only ties within a bin of the log odds may differ."""
    rng = np.random.default_rng(1)
    truth = rng.random(600) < 0.4
    cosine = np.clip(rng.normal(0.5 + 0.2 * truth, 0.3), -1, 1)
    cells = Cells(truth, np.zeros(600, int), np.array([False]))
    values = (1 / (1 + np.exp(-cosine / temperature))).astype(np.float32)
    assert score(values, cells)["all"]["AUC"] == pytest.approx(auc_by_pairs(cosine, truth), abs=0.1)


def test_grouping_does_not_matter_and_empty_images_add_nothing():
    whole, apart = MapScores(), MapScores()
    parts = [objects(seed, count=3) for seed in range(3)]
    none = Cells(np.zeros(0, bool), np.zeros(0, int), np.zeros(0, bool))
    for values, cells in [*parts, (np.zeros(0, np.float32), none)]:
        apart.add(values, cells)
    joined = Cells(
        np.concatenate([c.truth for _, c in parts]),
        np.concatenate([c.owner + 3 * i for i, (_, c) in enumerate(parts)]),
        np.concatenate([c.overlap for _, c in parts]),
    )
    whole.add(np.concatenate([v for v, _ in parts]), joined)
    for subset, found in whole.result().items():
        assert apart.result()[subset] == pytest.approx(found)


def test_without_objects_there_is_no_score():
    nothing = {"objects": 0, "IoU": None, "best": None, "AUC": None}
    assert MapScores().result() == {"all": nothing, "overlap": nothing}
    assert LabelScores().result()["all"] == {"cover": None, "acc": None}


def test_objects_that_are_left_out_or_have_no_cell_change_nothing():
    values, cells = objects(2)
    cells.overlap[:] = False
    scored = np.array([True, False, True, True, True])
    rest = scored[cells.owner]
    number = np.cumsum(scored) - 1
    alone = Cells(cells.truth[rest], number[cells.owner[rest]], cells.overlap[scored])
    assert score(values, cells, scored) == score(values[rest], alone)
    cells.truth[cells.owner == 1] = False
    assert score(values, cells) == score(values[rest], alone)


def test_labels_by_hand():
    truth = np.array([1, 1, 0, 0, 1, 0], bool)
    cells = Cells(truth, np.array([0, 0, 0, 0, 1, 1]), np.array([False, True]))
    target = np.array([1, 0, 1, 0, 1, 0], bool)
    weight = np.array([1, 1, 0, 0, 1, 0], bool)
    scores = LabelScores()
    scores.add(target, weight, cells)
    found = scores.result()
    assert found["all"] == {"cover": 50, "acc": pytest.approx(200 / 3)}
    assert found["overlap"] == {"cover": 50, "acc": 100}
    scores = LabelScores()
    scores.add(target, weight, cells, np.array([True, False]))
    assert scores.result()["all"] == {"cover": 50, "acc": 50}


def test_overlapping_needs_the_same_class_and_more_than_a_tenth():
    boxes = np.array(
        [[0, 0, 10, 10], [8, 0, 18, 10], [5, 5, 15, 15], [40, 40, 50, 50], [48, 48, 58, 58]], float
    )
    assert overlapping(boxes, np.array([0, 0, 1, 2, 2])).tolist() == [True, True, False, False, False]
    assert overlapping(boxes, np.array([0, 1, 0, 2, 2])).tolist() == [True, False, True, False, False]
    assert overlapping(boxes[:0], np.zeros(0, int)).tolist() == []


def test_memory_is_bounded():
    assert MapScores().histogram.nbytes == 4 * BINS * 8 < 2**21
