"""`wsis evaluate` on a run's folder: its own root, other images, given boxes, and the card."""

import hashlib
import shutil

import numpy as np
import pytest
import torch
import yaml
from pycocotools import mask as rle
from pycocotools.coco import COCO

import wsis
from tests.trained.runs import ROWS, SET, run_cli, same
from wsis.card import write_card
from wsis.data.roots import open_root
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.flow.jobs import evaluate_runs
from wsis.methods.weights import load_model
from wsis.plan import make_plan
from wsis.trained.evaluate import evaluate_folder


def test_the_card_is_what_a_hub_reads(trained):
    text = (trained.detector / "README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "apache-2.0" and front["pipeline_tag"] == "image-segmentation"
    (index,) = front["model-index"]
    values = {each["type"]: each["value"] for each in index["results"][0]["metrics"]}
    metrics = read_json(trained.detector / "metrics.json")["metrics"]
    assert values == {name: pytest.approx(x, abs=1e-3) for name, x in metrics.items() if x is not None}
    assert "@inproceedings{tian2021boxinst" in text and "loss.pairwise.warmup" in text
    assert "boxes=" in (trained.filler / "README.md").read_text()
    before = text
    write_card(trained.detector)
    assert (trained.detector / "README.md").read_text() == before


def test_a_process_that_dies_before_it_writes_metrics_has_written_their_card(trained, tmp_path, monkeypatch):
    """Metrics that are there thus never have an older card, and those that aren't are evaluated again."""

    def dies(path, content):
        raise KeyboardInterrupt

    run = shutil.copytree(trained.detector, tmp_path / "run")
    own = trained.data.with_name(read_json(run / "train.json")["data"]["root_name"])
    whole = (run / "README.md").read_text()
    (run / "metrics.json").unlink()
    write_card(run)
    assert "Not evaluated yet." in (run / "README.md").read_text()
    monkeypatch.setattr("wsis.evaluation.run.write_record", dies)
    with pytest.raises(KeyboardInterrupt):
        evaluate_folder(run, own)
    assert not (run / "metrics.json").exists() and (run / "README.md").read_text() == whole


def test_evaluating_a_run_of_a_former_version_makes_it_a_model(trained):
    """It has a model.pt, which is read, and no model.json."""
    plan, results = make_plan("smoke", overrides=SET), trained.runs.parents[1]
    id = next(iter(plan.row_runs(*ROWS["detector"]).values()))
    folder = trained.runs / id
    about, content = read_json(folder / "model.json"), load_model(folder / "model.safetensors")
    content.pop("strides")
    torch.save(content, folder / "model.pt")
    for name in ("model.json", "README.md", "model.safetensors"):
        (folder / name).unlink()
    evaluate_runs(plan, [id], results, None)
    assert (
        about["normalisation"]
        and read_json(folder / "model.json") == about
        and (folder / "README.md").exists()
    )
    image = trained.images[0]
    assert same(wsis.load(folder, "cpu").predict(image), wsis.load(trained.detector, "cpu").predict(image))


def test_masks_of_the_true_boxes_are_evaluated_when_asked(trained, tmp_path):
    run = shutil.copytree(trained.detector, tmp_path / "run")
    before = read_json(run / "metrics.json")
    own = trained.data.with_name(read_json(run / "train.json")["data"]["root_name"])
    text = run_cli("evaluate", run, "--data", own, "--given-boxes")
    after = read_json(run / "metrics.json")
    given = after["also"].pop("given-boxes")
    assert (after.pop("also") or before.pop("also", {})) == {} and after == before
    assert "given-boxes: mIoU " in text and "given-boxes" in (run / "README.md").read_text()
    root = open_root(stored_recipe(run), own)
    wanted = {i.id: (p.id, i.label) for p in root.eval for i in p.instances if not i.crowd}
    masks = read_json(run / "given_boxes.json")
    assert {each["annotation_id"]: each["image_id"] for each in masks} == {
        id: image for id, (image, _) in wanted.items()
    }
    truth = COCO(own / "annotations" / "instances_val.json")
    by_class = {}
    for each in masks:
        target = truth.annToRLE(truth.anns[each["annotation_id"]])
        iou = rle.iou([each["segmentation"]], [target], [0])[0, 0]
        by_class.setdefault(each["category_id"], []).append(iou)
    expected = 100 * np.mean([np.mean(ious) for ious in by_class.values()])
    assert given["metrics"]["mIoU"] == pytest.approx(expected) and given["detections"] == len(wanted)
    filler = shutil.copytree(trained.filler, tmp_path / "filler")
    own = trained.data.with_name(read_json(filler / "train.json")["data"]["root_name"])
    run_cli("evaluate", filler, "--data", own, "--given-boxes")
    assert (filler / "metrics.json").read_bytes() == (trained.filler / "metrics.json").read_bytes()


@pytest.mark.parametrize("name", ["detector", "filler"])
def test_evaluating_a_folder_equals_the_workflow_to_the_last_digit(trained, name):
    folder = getattr(trained, name)
    expected = (folder / "metrics.json").read_bytes()
    (folder / "metrics.json").unlink()
    with pytest.raises(WsisError, match=r"isn't there; give a root: --data ROOT"):
        run_cli("evaluate", folder)
    own = read_json(folder / "train.json")["data"]["root_name"]
    text = run_cli("evaluate", folder, "--data", trained.data.with_name(own))
    assert (folder / "metrics.json").read_bytes() == expected and str(folder / "metrics.json") in text


def test_other_images_are_predicted_and_other_classes_refused(trained, tmp_path):
    root = shutil.copytree(trained.data, tmp_path / "other")
    file = root / "annotations" / "instances_val.json"
    content = read_json(file)
    content["images"] = content["images"][:2]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in kept]
    write_json(file, content)
    before = hashlib.sha256((trained.detector / "metrics.json").read_bytes()).digest()
    run_cli("evaluate", trained.detector, "--data", root)
    (out,) = (trained.detector / "evaluations").iterdir()
    assert out.name.startswith("other-") and read_json(out / "metrics.json")["images"] == 2
    stored = read_json(trained.detector / "predictions.json")
    part = [entry for entry in stored if entry["image_id"] in kept]
    assert [entry["image_id"] for entry in read_json(out / "predictions.json")] == [
        e["image_id"] for e in part
    ]
    assert hashlib.sha256((trained.detector / "metrics.json").read_bytes()).digest() == before
    for each in (file, file.with_name("instances_train.json")):
        content = read_json(each)
        content["categories"][0]["name"] = "heron"
        write_json(each, content)
    for words in ("evaluate", "predict"):
        with pytest.raises(WsisError, match="category 1 is 'heron', but 'spiky' for the run"):
            run_cli(words, trained.detector, "--data", root)
