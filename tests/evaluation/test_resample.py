"""Resampled AP against pycocotools: each image once to the last bit, repeated images by brute force."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest

from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.coco import AT, THRESHOLDS, evaluate, matched, precision_array
from wsis.evaluation.guard import read_predictions, read_truth
from wsis.evaluation.resample import averages, category_matches, overlaps, precision

SETS = {
    "plain": {"seed": 1},
    "tied scores": {"seed": 2, "levels": 3},
    "more than 100 detections of a class": {"seed": 4, "categories": (5, 6), "extra": 230, "images": 4},
    "crowd": {"seed": 5, "crowd": 0.3, "objects": 8},
    "few objects": {"seed": 6, "objects": 1, "images": 5},
}


def opened(scene, folder):
    predictions, annotations = scene.write(folder)
    truth = read_truth(annotations)
    images = truth.chosen(None)
    return truth, read_predictions(predictions, truth, images), images


@pytest.mark.parametrize("name", SETS)
def test_every_image_once_is_pycocotools(name, scene_of, tmp_path):
    scene = scene_of(**SETS[name])
    truth, detections, images = opened(scene, tmp_path)
    expected = precision_array(truth, detections, images)[..., 0]
    found = precision(*category_matches(truth, detections, images), np.ones((1, len(images)), np.int64))
    assert np.array_equal(found[0], expected)
    metrics = evaluate(*scene.write(tmp_path), None)["metrics"]
    ones = np.ones((3, len(images)), np.int64)
    for row in averages(*scene.write(tmp_path), images).of(ones):
        assert row.tolist() == [metrics["AP"], metrics["AP50"], metrics["AP75"]]


def repeated(truth, detections, images, draw):
    """Precision T x R x K by pycocotools, which accumulates each image's evaluation as often as drawn."""
    run = matched(truth, detections, images, ["all"])
    of_image = np.array(run.evalImgs, dtype=object).reshape(-1, len(images))
    run.evalImgs = [e for row in of_image for e in np.repeat(row, draw)]
    run.params.imgIds = run._paramsEval.imgIds = list(range(int(draw.sum())))
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return run.eval["precision"][..., 0, 0]


@pytest.mark.parametrize("name", ["plain", "more than 100 detections of a class", "crowd", "few objects"])
def test_repeated_images_by_brute_force(name, scene_of, tmp_path):
    truth, detections, images = opened(scene_of(**SETS[name]), tmp_path)
    draws = np.random.default_rng(0).multinomial(len(images), [1 / len(images)] * len(images), 7)
    draws[0] = 0
    draws[0, 1] = 9
    found = precision(*category_matches(truth, detections, images), draws)
    for one, draw in zip(found, draws, strict=True):
        assert np.array_equal(one, repeated(truth, detections, images, draw))
    assert len(THRESHOLDS) == found.shape[1] and (found[:, AT["AP50"]] > 0).any()


def test_where_no_object_is_drawn_there_is_no_average(empty_scene, tmp_path):
    scene = empty_scene
    scene.images = [1, 2]
    mask = np.zeros((10, 10), bool)
    mask[2:5, 3:7] = True
    scene.add(1, 1, mask)
    scene.find(1, 1, mask, 0.5)
    files = scene.write(tmp_path)
    draws = np.array([[1, 1], [0, 2], [2, 0]])
    values = averages(*files, [1, 2]).of(draws)
    assert values[[0, 2]].tolist() == [pytest.approx([100] * 3)] * 2 and np.isnan(values[1]).all()


def test_overlaps_are_the_class_agnostic_protocols(scene_of, tmp_path):
    scene, rng = scene_of(seed=3, objects=6, crowd=0.2), np.random.default_rng(0)
    scene.found = [
        {key: entry[key] for key in ("image_id", "category_id")}
        | {"score": 1.0, "annotation_id": entry["id"], "mask": entry["mask"] & (rng.random((120, 160)) < 0.9)}
        for entry in scene.truth
    ]
    predictions, annotations = scene.write(tmp_path)
    images = sorted(scene.images)
    sums = overlaps(predictions, annotations, images)
    draws = np.zeros((len(images), len(images)), np.int64)
    for drawn in range(len(images)):
        draws[drawn, : drawn + 1] = 1
    for drawn, (value,) in enumerate(sums.of(draws)):
        part = [entry for entry in scene.results() if entry["image_id"] in images[: drawn + 1]]
        (tmp_path / "part.json").write_text(json.dumps(part))
        expected = evaluate_class_agnostic(tmp_path / "part.json", annotations, None, images[: drawn + 1])
        if expected["metrics"]["mIoU"] is None:
            assert np.isnan(value)
        else:
            assert value == pytest.approx(expected["metrics"]["mIoU"], abs=1e-10)
    assert sums.of(2 * draws[-1:]) == pytest.approx(sums.of(draws[-1:]))
