"""VOC AP against a slow formulation written from the protocol's words, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from wsis.evaluation.coco import evaluate
from wsis.evaluation.voc import area_under_curve, cover, evaluate_voc

THRESHOLDS = {"AP25": 0.25, "AP50": 0.5, "AP70": 0.7, "AP75": 0.75}


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def slow_ap(objects, found, threshold):
    """Detections one by one; then, for the n-th object found, the best precision from there on, averaged."""
    covered, hits = set(), []
    for entry in sorted(found, key=lambda e: -e["score"]):
        choice, highest = None, threshold
        for target in objects:
            if target["image_id"] == entry["image_id"] and target["id"] not in covered:
                overlap = iou(entry["mask"], target["mask"])
                if overlap > highest:
                    choice, highest = target["id"], overlap
        hits.append(choice is not None)
        covered.add(choice)
    precisions = [sum(hits[:n]) / n for n in range(1, len(hits) + 1)]
    found_at = [n for n, hit in enumerate(hits) if hit]
    return sum(max(precisions[n:]) for n in found_at) / len(objects)


@pytest.mark.parametrize("seed", range(4))
def test_against_the_slow_formulation(seed, scene_of, tmp_path):
    scene = scene_of(seed=seed, size=(40, 60), radius=(5, 30), images=8, extra=3)
    result = evaluate_voc(*scene.write(tmp_path), "v-1")
    assert result["protocol"] == "voc" and result["recipe"] == "v-1"
    for metric, threshold in THRESHOLDS.items():
        expected = []
        for category in scene.categories:
            objects = [e for e in scene.truth if e["category_id"] == category]
            if objects:
                found = [e for e in scene.found if e["category_id"] == category]
                expected.append(slow_ap(objects, found, threshold))
        assert len(expected) == 3
        assert result["metrics"][metric] == pytest.approx(100 * np.mean(expected), abs=1e-9)
    assert 0 < result["metrics"]["AP75"] < result["metrics"]["AP25"] < 100


def test_area_by_hand():
    """Right, wrong, right, of four objects: precision 1 up to 1/4, then 2/3 up to 2/4, then nothing."""
    assert area_under_curve(np.array([True, False, True]), 4) == pytest.approx(1 / 4 + 2 / 3 / 4)
    assert area_under_curve(np.array([False, False, True]), 1) == pytest.approx(1 / 3)
    assert area_under_curve(np.array([False, True, True, True]), 3) == pytest.approx(3 / 4)  # monotone
    assert area_under_curve(np.array([], dtype=bool), 2) == 0


def test_matching_by_hand():
    """The second detection takes the free object that is left, the third finds all covered."""
    overlaps = np.array([[0.9, 0.6], [0.8, 0.6], [0.7, 0.6]])
    assert cover(overlaps, 0.5) == [True, True, False]
    assert cover(overlaps, 0.6) == [True, False, False]  # strictly above
    assert cover(np.zeros((2, 0)), 0.25) == [False, False]


def test_an_iou_at_the_threshold_does_not_count(empty_scene, tmp_path):
    scene = empty_scene
    whole, half = np.zeros((2, 10, 10), dtype=bool)
    whole[0, :10] = half[0, :5] = True
    scene.add(1, 1, whole)
    scene.find(1, 1, half, 0.5)
    paths = scene.write(tmp_path)
    metrics = evaluate_voc(*paths, None)["metrics"]
    assert metrics == {"AP25": pytest.approx(100), "AP50": 0, "AP70": 0, "AP75": 0}
    assert evaluate(*paths, None)["metrics"]["AP50"] == pytest.approx(100)  # COCO counts it


def test_perfect_empty_and_undefined(scene_of, tmp_path):
    scene = scene_of(seed=3)
    scene.found = [{**entry, "score": 0.5} for entry in scene.truth]
    perfect = evaluate_voc(*scene.write(tmp_path / "perfect"), None)
    assert perfect["metrics"] == pytest.approx(dict.fromkeys(THRESHOLDS, 100.0))
    assert perfect["per_class"]["class 44"] is None
    scene.found = []
    assert evaluate_voc(*scene.write(tmp_path / "empty"), None)["metrics"] == dict.fromkeys(THRESHOLDS, 0.0)
    scene.truth = []
    assert evaluate_voc(*scene.write(tmp_path / "none"), None)["metrics"] == dict.fromkeys(THRESHOLDS)


def test_order_of_the_file_does_not_matter_and_images_can_be_chosen(scene_of, tmp_path):
    scene = scene_of(seed=5, levels=2, images=6)
    first = evaluate_voc(*scene.write(tmp_path), None)
    scene.found.reverse()
    assert evaluate_voc(*scene.write(tmp_path), None) == first
    chosen = scene.images[:3]
    scene.found = [entry for entry in scene.found if entry["image_id"] in chosen]
    restricted = evaluate_voc(*scene.write(tmp_path / "a"), None, image_ids=chosen)
    scene.truth = [entry for entry in scene.truth if entry["image_id"] in chosen]
    scene.images = chosen
    assert evaluate_voc(*scene.write(tmp_path / "b"), None) == restricted != first


def test_crowd_regions_are_background(scene_of, tmp_path):
    scene = scene_of(seed=6, crowd=0.4)
    assert any(entry["iscrowd"] for entry in scene.truth)
    first = evaluate_voc(*scene.write(tmp_path / "a"), None)
    scene.truth = [entry for entry in scene.truth if not entry["iscrowd"]]
    assert evaluate_voc(*scene.write(tmp_path / "b"), None) == first
