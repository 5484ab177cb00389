"""mIoU*, IoU50 and IoU75 of paired masks, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wsis.evaluation.class_agnostic import class_means, evaluate_class_agnostic, overlap_metrics
from wsis.evaluation.guard import GuardError


def stripe(length):
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, :length] = True
    return mask


@pytest.fixture
def pairs(empty_scene):
    """Two objects of class 1 (IoU 1/2, 3/4), two of class 2 (1, 1/10), one crowd; none of class 3."""
    scene = empty_scene
    scene.images, scene.categories = [1, 2], [1, 2, 3]
    for image, category, truth, made in ((1, 1, 10, 5), (1, 1, 8, 6), (1, 2, 7, 7), (2, 2, 10, 1)):
        scene.add(image, category, stripe(truth))
        scene.find(image, category, stripe(made), 0.5)
        scene.found[-1]["annotation_id"] = scene.truth[-1]["id"]
    scene.add(2, 1, stripe(10), iscrowd=1)
    return scene


def test_by_hand(pairs, tmp_path):
    result = evaluate_class_agnostic(*pairs.write(tmp_path), "b-1")
    mean = {1: (1 / 2 + 3 / 4) / 2, 2: (1 + 1 / 10) / 2}
    expected = {"mIoU": 100 * (mean[1] + mean[2]) / 2, "IoU50": 50, "IoU75": 25}
    assert result["metrics"] == pytest.approx(expected)
    per_class = {"class 1": pytest.approx(62.5), "class 2": pytest.approx(55), "class 3": None}
    assert result["per_class"] == per_class
    assert (result["protocol"], result["detections"], result["images"]) == ("class-agnostic", 4, 2)
    loose = overlap_metrics(np.array([1 / 2, 3 / 4, 1, 1 / 10]), [1, 1, 2, 2], strict=False)
    assert loose == pytest.approx(expected | {"IoU50": 75, "IoU75": 50})


def test_classes_count_equally_not_objects():
    metrics = overlap_metrics(np.array([1.0, 1.0, 1.0, 0.0]), [5, 5, 5, 9])
    assert metrics == {"mIoU": 50, "IoU50": 75, "IoU75": 75}
    assert class_means(np.array([0.2, 0.4, 0.9]), [5, 5, 9]) == {5: pytest.approx(0.3), 9: 0.9}
    assert overlap_metrics(np.array([]), []) == {"mIoU": None, "IoU50": None, "IoU75": None}


def test_order_does_not_matter_and_perfect_is_100(pairs, tmp_path):
    first = evaluate_class_agnostic(*pairs.write(tmp_path), None)
    pairs.found.reverse()
    assert evaluate_class_agnostic(*pairs.write(tmp_path), None) == first
    for entry, target in zip(reversed(pairs.found), pairs.truth[:4], strict=True):
        entry["mask"] = target["mask"]
    perfect = evaluate_class_agnostic(*pairs.write(tmp_path), None)["metrics"]
    assert perfect == pytest.approx({"mIoU": 100, "IoU50": 100, "IoU75": 100})


def test_masks_of_crowd_regions_are_left_out(pairs, tmp_path):
    pairs.find(2, 1, stripe(10), 0.5)
    pairs.found[-1]["annotation_id"] = 5
    assert evaluate_class_agnostic(*pairs.write(tmp_path), None)["detections"] == 4


def test_images_can_be_chosen(pairs, tmp_path):
    pairs.found = pairs.found[3:]
    metrics = evaluate_class_agnostic(*pairs.write(tmp_path), None, image_ids=[2])["metrics"]
    assert metrics == pytest.approx({"mIoU": 10, "IoU50": 0, "IoU75": 0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: found.pop(), "no mask for 1 objects, the first with id 4"),
        (lambda found: found.append(found[0]), "annotation_id 1 on image 1: this object has a mask already"),
        (lambda found: found[0].pop("annotation_id"), "annotation_id None on image 1: no such object"),
        (lambda found: found[0].update(annotation_id=77), "annotation_id 77 on image 1: no such object"),
        (lambda found: found[0].update(annotation_id="1"), "'annotation_id' must be an integer"),
        (lambda found: found[0].update(category_id=2), "another image or category"),
    ],
)
def test_each_object_needs_exactly_one_mask(pairs, tmp_path, change, message):
    predictions, annotations = pairs.write(tmp_path)
    found = json.loads(predictions.read_text())
    change(found)
    predictions.write_text(json.dumps(found))
    with pytest.raises(GuardError, match=message):
        evaluate_class_agnostic(predictions, annotations, None)
