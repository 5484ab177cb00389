"""Where the predictions of a root lie: with the run, as long as they are of the images that it lists."""

import pytest

from wsis.data.roots import open_root
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.trained.evaluate import evaluations_of, predictions_of


@pytest.fixture
def told(coco_root, recipe, tmp_path):
    """opened(): the root as it is now. The run in tmp_path/run predicted it as it was at first."""
    settings = recipe(dataset="coco").settled()
    root = open_root(settings, coco_root())
    data = {"path": str(root.path), "fingerprint": root.fingerprint, "evaluation": root.eval_fingerprint}
    data |= {"root_name": root.name, "eval_listing": root.eval_listing}
    write_json(tmp_path / "run" / "train.json", {"recipe": settings.id, "data": data})
    return lambda: open_root(settings, coco_root.root)


def test_mended_ground_truth_is_the_runs_own(told, coco_root, tmp_path):
    run = tmp_path / "run"
    assert evaluations_of(run, told()) == run
    coco_root(lambda content: content["annotations"].pop(), "val2017")
    assert evaluations_of(run, told()) == predictions_of(run, told()) == run


def renumbered(content):
    for image in content["images"]:
        image["id"] += 1
    for each in content["annotations"]:
        each["image_id"] += 1


def renamed(content):
    for image in content["images"]:
        image["file_name"] = f"{5 - image['id']}.jpg"


@pytest.mark.parametrize("change", [renumbered, renamed])
def test_predictions_of_images_that_have_become_others_are_not_evaluated(change, told, coco_root, tmp_path):
    run = tmp_path / "run"
    coco_root(change, "val2017")
    place = evaluations_of(run, told())
    assert place.parent == run / "evaluations"
    with pytest.raises(WsisError, match=r"wsis evaluate .*run --data"):
        predictions_of(run, told())
    write_json(place / "predictions.json", [])
    assert predictions_of(run, told()) == place


def test_another_training_split_is_another_root(told, coco_root, tmp_path):
    coco_root(lambda content: content["annotations"].pop())
    assert evaluations_of(tmp_path / "run", told()) != tmp_path / "run"
