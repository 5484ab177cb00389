"""Comparing runs: the difference is that of the metrics, other ground truth is refused, seeds are paired."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from typer.testing import CliRunner

from wsis.cli import app
from wsis.errors import WsisError
from wsis.evaluation.coco import evaluate
from wsis.files import read_json, write_json
from wsis.trained.compare import compare

IMAGES = 12


@pytest.fixture
def root(coco_root):
    """Twelve evaluation images with an object each."""
    folder = coco_root().parent / "root"
    for id in range(5, IMAGES + 1):
        Image.new("RGB", (30, 20)).save(folder / "val2017" / f"{id}.jpg")

    def more(content):
        image, entry = content["images"][0], content["annotations"][0]
        content["images"] = [image | {"id": id, "file_name": f"{id}.jpg"} for id in range(1, IMAGES + 1)]
        content["annotations"] = [
            entry | {"id": 10 + id, "image_id": id, "category_id": 3 if id % 2 else 7}
            for id in range(1, IMAGES + 1)
        ]

    return coco_root(more, split="val2017")


@pytest.fixture
def run(root, recipe, tmp_path):
    """run(name, good, seed): the folder of a run whose masks are right in the first `good` images."""

    def make(name, good, seed=0, place=root, **data):
        settled = recipe(dataset="coco", seed=seed, **data).settled()
        folder, entries = tmp_path / "runs" / name, []
        for id in range(1, (data.get("eval_images") or IMAGES) + 1):
            pixels = np.zeros((20, 30), np.uint8, order="F")
            pixels[5:13, (4 if id <= good else 7) : 14] = 1
            mask = rle.encode(pixels)
            mask["counts"] = mask["counts"].decode()
            kind = 3 if id % 2 else 7
            entries.append({"image_id": id, "category_id": kind, "score": 1 - id / 50, "segmentation": mask})
        write_json(folder / "predictions.json", entries)
        given = [entry | {"annotation_id": 10 + entry["image_id"]} for entry in entries]
        write_json(folder / "given_boxes.json", given)
        write_json(folder / "recipe.json", {"id": settled.id, "recipe": settled.model_dump(mode="json")})
        data = {"path": str(place), "root_name": place.name, "fingerprint": None}
        write_json(folder / "train.json", {"recipe": settled.id, "data": data})
        return folder

    return make


def test_the_difference_is_that_of_the_metrics(run, root):
    first, second = run("first", 4), run("second", 9)
    found = compare([first], [second], 300)
    truth = root / "annotations" / "instances_val2017.json"
    metrics = [evaluate(each / "predictions.json", truth, None)["metrics"] for each in (first, second)]
    for name in ("AP", "AP50", "AP75"):
        each = found["metrics"][name]
        assert (each["first"], each["second"]) == (metrics[0][name], metrics[1][name])
    for name in ("AP", "AP75", "mIoU"):
        each = found["metrics"][name]
        assert each["low"] < each["difference"] < each["high"] and each["difference"] > 0
    assert found["metrics"]["mIoU"]["first"] == pytest.approx(100 * (4 + 8 * 0.7) / 12)
    assert found["images"] == IMAGES and found["resamples"] == 300
    back = compare([second], [first], 300)["metrics"]["AP"]
    ahead = found["metrics"]["AP"]
    assert [back["difference"], back["low"], back["high"]] == pytest.approx(
        [-ahead["difference"], -ahead["high"], -ahead["low"]]
    )


def test_a_run_does_not_differ_from_itself(run):
    folder = run("one", 6)
    for each in compare([folder], [folder], 50)["metrics"].values():
        assert each["difference"] == each["low"] == each["high"] == 0


def test_masks_of_given_boxes_are_compared_where_both_have_them(run):
    first, second = run("first", 4), run("second", 9)
    (second / "given_boxes.json").unlink()
    assert "mIoU" not in compare([first], [second], 10)["metrics"]


def test_the_spread_is_that_of_the_images(run):
    """mIoU of one class: the mean over drawn images of a known two-valued difference."""
    found = compare([run("first", 0)], [run("second", 6)], 4000)["metrics"]["mIoU"]
    per_image = np.where(np.arange(IMAGES) < 6, 30.0, 0.0)
    error = per_image.std() / IMAGES**0.5
    assert found["difference"] == pytest.approx(15)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(1.96 * error, rel=0.15)


def test_rows_are_compared_seed_by_seed(run):
    firsts = [run(f"first{seed}", good, seed) for seed, good in ((1, 2), (2, 6))]
    seconds = [run(f"second{seed}", good, seed) for seed, good in ((2, 8), (1, 8))]
    found = compare(firsts, seconds, 50)
    singles = [compare([firsts[0]], [seconds[1]], 50), compare([firsts[1]], [seconds[0]], 50)]
    assert found["seeds"] == [1, 2]
    for name, each in found["metrics"].items():
        assert each["by_seed"] == [one["metrics"][name]["difference"] for one in singles]
        assert each["difference"] == pytest.approx(np.mean(each["by_seed"]))
    with pytest.raises(WsisError, match="runs of seeds 1, 2 and 2: pairs need the same seeds"):
        compare(firsts, seconds[:1], 50)
    with pytest.raises(WsisError, match="several runs of one seed"):
        compare([firsts[0], run("again", 3, 1)], seconds, 50)


def test_other_images_and_annotations_are_refused(run, root, tmp_path):
    first = run("first", 4)
    with pytest.raises(WsisError, match=r"evaluation images differ \(12 of .*root, 5 of"):
        compare([first], [run("few", 4, eval_images=5)])
    copy = shutil.copytree(root, tmp_path / "copy")
    assert compare([first], [run("copied", 4, place=copy)], 10)["metrics"]["AP"]["difference"] == 0
    file = copy / "annotations" / "instances_val2017.json"
    content = read_json(file)
    content["annotations"].pop()
    write_json(file, content)
    with pytest.raises(WsisError, match="evaluation annotations differ"):
        compare([first], [run("other", 4, place=copy)])
    shutil.rmtree(copy)
    with pytest.raises(WsisError, match="isn't there"):
        compare([first], [run("gone", 4, place=copy)])


def test_the_command(run):
    words = ["compare", str(run("first", 4)), str(run("second", 9)), "--resamples", "20"]
    text = CliRunner().invoke(app, words).output
    assert "AP75" in text and "95 % of 20 resamples of 12 images" in text
    found = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert found["metrics"]["AP"]["difference"] > 0
