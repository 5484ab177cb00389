"""data.classes 'one': every object is an 'object', in training and in evaluation."""

import json

import pytest
from pydantic import ValidationError

from wsis.data.ground_truth import eval_annotations
from wsis.data.roots import open_root
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.evaluation.coco import evaluate
from wsis.files import read_json, write_json


def test_all_objects_are_of_one_class(shapes, recipe, tmp_path):
    every, one = (open_root(recipe(classes=classes), shapes) for classes in ("all", "one"))
    assert one.category_names == ("object",) and every.num_classes > 1
    assert {i.label for p in one.train for i in p.instances} == {0}
    assert [i.box for p in one.train for i in p.instances] == [
        i.box for p in every.train for i in p.instances
    ]
    assert one.classes != every.classes and one.fingerprint == every.fingerprint


def test_ground_truth_of_one_class_ignores_classes(shapes, recipe, tmp_path):
    """Masks of the truth under any one class are perfect, which they aren't where classes count."""
    root = open_root(recipe(classes="one"), shapes)
    truth = eval_annotations(root, tmp_path)
    content = read_json(truth)
    assert [category["name"] for category in content["categories"]] == ["object"]
    found = [
        {"image_id": a["image_id"], "category_id": 1, "score": 0.5, "segmentation": a["segmentation"]}
        for a in content["annotations"]
    ]
    if isinstance(found[0]["segmentation"], list):
        pytest.skip("results have run-length encodings")
    write_json(tmp_path / "predictions.json", found)
    assert evaluate(tmp_path / "predictions.json", truth, None)["metrics"]["AP"] == pytest.approx(100)


def test_supervision_that_tells_classes_apart_is_refused():
    with pytest.raises(ValidationError, match="tells classes apart"):
        Recipe(method="boxinst", data=DataSpec(supervision="masks-voc", classes="one"))


def test_the_default_stands_in_no_id(recipe):
    assert "classes" not in json.loads(recipe().canonical())["data"]
