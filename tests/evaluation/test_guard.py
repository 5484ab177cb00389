"""Each way in which a ground truth or a predictions file misleads an evaluator is refused, by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wsis.errors import WsisError
from wsis.evaluation.coco import evaluate
from wsis.evaluation.guard import GuardError, read_predictions, read_truth
from wsis.evaluation.voc import evaluate_voc


@pytest.fixture
def files(empty_scene, tmp_path):
    """(predictions, ground truth) paths and contents of a small correct pair."""
    scene = empty_scene
    scene.size = (10, 14)
    scene.images = [1, 2]
    mask = np.zeros((10, 14), dtype=bool)
    mask[2:5, 3:9] = True
    scene.add(1, 1, mask)
    scene.add(2, 1, ~mask)
    scene.find(1, 1, mask, 0.5)
    scene.find(2, 1, mask, 0.25)
    paths = scene.write(tmp_path)
    return paths, [json.loads(path.read_text()) for path in paths]


def refused(files, which, message):
    paths, contents = files
    paths[which].write_text(json.dumps(contents[which]))
    with pytest.raises(GuardError, match=message) as caught:
        evaluate(*paths, None)
    assert str(paths[which]) in str(caught.value)
    assert isinstance(caught.value, WsisError)


def test_the_pair_is_correct(files):
    assert evaluate(*files[0], None)["metrics"]["AP"] == pytest.approx(100 * 51 / 101)


def test_one_ground_truth_serves_many_runs_until_its_file_changes(files):
    """Whatever is evaluated on it in between, by either protocol."""
    (predictions, annotations), (_, content) = files
    alone = evaluate(predictions, annotations, None), evaluate_voc(predictions, annotations, None)
    again = evaluate_voc(predictions, annotations, None), evaluate(predictions, annotations, None)
    assert alone == again[::-1]
    assert read_truth(annotations) is read_truth(annotations)
    content["annotations"].pop()
    annotations.write_text(json.dumps(content))
    assert len(read_truth(annotations).annotations) == 1
    assert evaluate(predictions, annotations, None) != alone[0]


def drop(key):
    return lambda entry: entry.pop(key)


def put(key, value):
    return lambda entry: entry.update({key: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("id", 0), "ids must start at 1"),
        (put("id", 1), r"annotations\[1\] \(id 1\): this id is given twice"),
        (put("id", "2"), "'id' must be an integer"),
        (drop("area"), "'area' must be a number"),
        (put("area", float("nan")), "'area' must be a number"),
        (drop("iscrowd"), "'iscrowd' must be 0 or 1"),
        (put("image_id", 3), "image 3 is not in 'images'"),
        (put("category_id", 3), "category 3 is not in 'categories'"),
        (drop("segmentation"), "no mask"),
        (put("segmentation", []), "no mask"),
        (put("segmentation", [[0, 0, 5, 5]]), "three points"),
        (put("segmentation", [[0, 0, 5, 5, 0, float("inf")]]), "not a finite number"),
        (put("segmentation", {"size": [10, 14], "counts": [3, 4]}), "covers 7 pixels"),
        (put("segmentation", {"size": [14, 10], "counts": [140]}), r"size \[14, 10\]"),
        (put("segmentation", "mask.png"), "neither polygons nor RLE"),
        (put("segmentation", [[0, 0, 5e9, 5, 0, 5]]), "outside of it"),
        (put("segmentation", {"size": [10.0, 14], "counts": [140]}), r"size \[10.0, 14\]"),
        (put("id", 10**400), "'id' must be an integer below 2\\^53, got a number of 1329 bits"),
    ],
)
def test_ground_truth_annotations(files, change, message):
    change(files[1][1]["annotations"][1])
    refused(files, 1, message)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("images", None, "'images' is missing"),
        ("annotations", {}, "'annotations' is missing or not a list"),
        ("images", [{"id": 1, "height": 10}], r"images\[0\]: 'width' must be an integer"),
        ("images", [{"id": 1, "height": 10, "width": 14}] * 2, "image id 1 is given twice"),
        ("images", [{"id": 1, "height": 10**6, "width": 10**6}], "below 2147483648 pixels"),
        ("categories", [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], "'a' is given twice"),
        ("categories", [{"id": 1}], "'name' is missing"),
        ("info", {"area_scale": 0}, "info.area_scale must be a positive number"),
        ("info", {"area_scale": "4"}, "info.area_scale must be a positive number"),
    ],
)
def test_ground_truth_tables(files, key, value, message):
    files[1][1][key] = value
    refused(files, 1, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("score", float("nan")), "'score' must be a finite number, got nan"),
        (put("score", float("inf")), "'score' must be a finite number, got inf"),
        (put("score", "0.5"), "'score' must be a finite number"),
        (put("score", 10**400), "'score' must be a finite number, got a number of 1329 bits"),
        (put("image_id", 10**40), "'image_id' must be an integer"),
        (drop("score"), "'score' must be a finite number, got None"),
        (put("image_id", 7), "image 7 is not in "),
        (put("category_id", 0), "category 0 is not in .*not contiguous labels"),
        (drop("image_id"), "'image_id' must be an integer"),
        (put("image_id", True), "'image_id' must be an integer"),
        (drop("segmentation"), "no mask on image 2"),
        (lambda e: (e.pop("segmentation"), e.update(bbox=[1, 1, 2, 2])), "a box without a mask on image 2"),
        (lambda e: e.update(segmentation=[], bbox=[1, 1, 2, 2]), "a box without a mask on image 2"),
        (put("segmentation", [[0, 0, 5, 0, 5, 5]]), "must be compressed RLE"),
        (put("segmentation", {"size": [10, 14], "counts": [140]}), "must be compressed RLE"),
        (lambda e: e["segmentation"].update(size=[14, 10]), r"image 2: RLE of size \[14, 10\]"),
        (lambda e: e["segmentation"].update(counts="zzzz!!"), "outside COCO's RLE alphabet"),
        (lambda e: e["segmentation"].update(size=[10.0, 14.0]), "image 2: RLE of size"),
        (lambda e: e["segmentation"].update(counts="\ud800"), "outside COCO's RLE alphabet"),
        (lambda e: e["segmentation"].update(counts="32"), "covers 5 pixels"),
    ],
)
def test_predictions(files, change, message):
    change(files[1][0][1])
    refused(files, 0, "entry 1: .*" + message if "entry" not in message else message)


def test_images_not_asked_for(files):
    with pytest.raises(GuardError, match="entry 1: image 2 is not among the 1 images"):
        evaluate(*files[0], None, image_ids=[1])
    with pytest.raises(GuardError, match="image 5, which is not in this file"):
        evaluate(*files[0], None, image_ids=[1, 5])
    with pytest.raises(GuardError, match="no image"):
        evaluate(*files[0], None, image_ids=[])


def test_files_that_are_something_else(files):
    (predictions, annotations), _ = files
    with pytest.raises(GuardError, match=r"expected COCO results \(a list\)"):
        evaluate(annotations, annotations, None)
    with pytest.raises(GuardError, match="expected a COCO ground truth"):
        evaluate(predictions, predictions, None)
    with pytest.raises(WsisError, match="no such file"):
        evaluate(predictions.with_name("none.json"), annotations, None)
    predictions.write_text('[{"image_id": 1,')
    with pytest.raises(WsisError, match="can't be read as JSON"):
        evaluate(predictions, annotations, None)


def test_order_and_content_of_checked_predictions(files):
    (predictions, annotations), (entries, truth) = files
    truth["info"] = {"area_scale": 2.5}
    annotations.write_text(json.dumps(truth))
    tie = {**entries[0], "segmentation": {"size": [10, 14], "counts": "0l3`0"}}
    more = [entries[1], {**entries[0], "score": 0.125}, tie, {**entries[0], "bbox": [1, 2, 3, 4]}]
    predictions.write_text(json.dumps(more))
    checked = read_predictions(predictions, read_truth(annotations))
    assert [(e["image_id"], e["score"]) for e in checked] == [(1, 0.5), (1, 0.5), (1, 0.125), (2, 0.25)]
    assert [e["area"] for e in checked] == [2.5 * 124, 2.5 * 18, 2.5 * 18, 2.5 * 18]
    assert all("bbox" not in e for e in checked)


def test_a_wrong_mask_among_thousands_is_named(files):
    (predictions, annotations), (entries, truth) = files
    many = [{**entries[0], "score": number / 2500} for number in range(2500)]
    many[1700] = {**many[1700], "segmentation": {"size": [10, 14], "counts": "32"}}
    predictions.write_text(json.dumps(many))
    with pytest.raises(GuardError, match="entry 1700: image 1: RLE covers 5 pixels"):
        read_predictions(predictions, read_truth(annotations))
    truth["annotations"] = [{**truth["annotations"][0], "id": number} for number in range(1, 2501)]
    truth["annotations"][2100]["segmentation"] = {"size": [10, 14], "counts": "PPPP"}
    annotations.write_text(json.dumps(truth))
    with pytest.raises(GuardError, match=r"annotations\[2100\] \(id 2101\): .*middle of a number"):
        read_truth(annotations)
