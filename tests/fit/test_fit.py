"""A training outside of tables: an ordinary run, ended early and going on, with the best weights."""

import json
import os
import shutil
import signal

import pytest
import torch
from typer.testing import CliRunner

import wsis
from wsis.cli import app
from wsis.engine import validation
from wsis.files import read_json, write_json
from wsis.methods.boxinst.method import BoxInst
from wsis.methods.weights import load_model

FLAGS = [
    "--backbone",
    "tiny",
    "--size",
    "64",
    "--batch",
    "2",
    "--seed",
    "5",
    "--device",
    "cpu",
    "--threads",
    "1",
]
SETTINGS = ["schedule.iterations=9", "predict.score=0.0", "predict.detections=4", "data.train_images=8"]


def fit(root, results, *more, code=0):
    words = ["fit", "boxinst", "--data", str(root), "--results", str(results), *FLAGS, *more]
    for setting in SETTINGS:
        words += ["--set", setting]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def folder(results):
    (path,) = results.glob("fit/runs/*")
    return path


@pytest.fixture(scope="module")
def through(shapes, tmp_path_factory):
    results = tmp_path_factory.mktemp("through")
    output = fit(shapes, results, "--logger", "csv")
    return folder(results), output


def test_a_fitted_run_is_a_run_like_any_other(through, shapes, tmp_path):
    run, output = through
    assert "you said so" in output and "9" in output and "coco: AP" in output.replace("\n", "")
    told = read_json(run / "train.json")
    assert [entry["iteration"] for entry in told["validations"]] == [3, 6, 9]
    assert told["best"] in told["validations"] and "ended" not in told
    assert max(e["AP"] for e in told["validations"]) == told["best"]["AP"]
    assert load_model(run / "model.safetensors")["iteration"] == told["best"]["iteration"]
    assert load_model(run / "last.safetensors")["iteration"] == 9
    assert f"weights after {told['best']['iteration']} iterations" in (run / "README.md").read_text()
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["iteration"] for row in rows if "validation" in row] == [2, 5, 8] and len(rows) == 12
    shown = [path.stem.rpartition("-") for path in (run / "csv" / "masks").iterdir()]
    assert len({name for name, _, _ in shown}) == 4 and len(shown) == 12
    assert {step for _, _, step in shown} == {"3", "6", "9"}
    assert "coco/AP" in (run / "csv" / "metrics.csv").read_text()
    elsewhere = shutil.copytree(run, tmp_path / "copy")
    model = wsis.load(elsewhere, "cpu")
    assert len(model.predict(next((shapes / "val").glob("*.png")))) == 4
    before = read_json(run / "metrics.json")["metrics"]
    for words in (["evaluate", str(elsewhere)], ["runs", "--results", str(run.parents[2])]):
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    assert run.name in result.output and "evaluated" in result.output
    assert read_json(elsewhere / "metrics.json")["metrics"] == before


def test_ctrl_c_ends_early_with_a_model_and_the_same_command_goes_on(through, shapes, tmp_path, monkeypatch):
    whole, step = through[0], BoxInst.on_step_end

    def interrupt(self, iteration):
        step(self, iteration)
        if iteration == 4:
            features = folder(tmp_path) / "checkpoints" / "features"
            features.mkdir()
            (features / "image.safetensors").touch()
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(BoxInst, "on_step_end", interrupt)
    fit(shapes, tmp_path)
    run = folder(tmp_path)
    told = read_json(run / "train.json")
    assert told["ended"] == told["iterations"] == 5
    assert "ended early, after 5 of 9 iterations" in told["deviations"]
    assert (run / "metrics.json").exists() and wsis.load(run, "cpu").names
    kept = {path.name for path in (run / "checkpoints").iterdir() if path.suffix != ".sha256"}
    assert kept == {"last.pt", "origin.json", "validation"}  # what is large and can be computed again is gone
    monkeypatch.setattr(BoxInst, "on_step_end", step)
    fit(shapes, tmp_path)
    told = read_json(run / "train.json")
    assert told["iterations"] == 9 and told["resumed"] == 1 and "ended" not in told
    assert not any("early" in text for text in told["deviations"])
    for name in ("last.safetensors", "model.safetensors"):
        ours, theirs = load_model(run / name)["model"], load_model(whole / name)["model"]
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert {path.suffix for path in (run / "checkpoints").glob("[!.]*")} == {".json"}


def test_the_weights_that_did_best_are_the_runs(shapes, tmp_path, monkeypatch):
    values = iter([1.0, 3.0, 2.0])
    real = validation.evaluate
    monkeypatch.setattr(validation, "METRICS", ("AP",))

    def scored(*arguments, **keys):
        return real(*arguments, **keys) | {"metrics": {"AP": next(values)}}

    monkeypatch.setattr(validation, "evaluate", scored)
    fit(shapes, tmp_path)
    run = folder(tmp_path)
    assert read_json(run / "train.json")["best"] == {"iteration": 6, "AP": 3.0}
    assert load_model(run / "model.safetensors")["iteration"] == 6


def test_boxes_alone_train_and_predict_and_ap_is_refused_before(shapes, tmp_path):
    root = tmp_path / "boxes"
    shutil.copytree(shapes, root, ignore=shutil.ignore_patterns("salient", "dev"))
    for split in ("train", "val"):
        file = root / "annotations" / f"instances_{split}.json"
        content = read_json(file)
        for each in content["annotations"]:
            for key in ("segmentation", "area", "iscrowd"):
                each.pop(key, None)
        write_json(file, content)
    output = fit(root, tmp_path / "results", "--classes", "one", "--out", str(tmp_path / "mine"))
    assert "AP and mIoU can't be measured" in output
    assert not (tmp_path / "mine" / "metrics.json").exists()
    assert wsis.load(tmp_path / "mine", "cpu").names == ("object",)
