"""The end of a run: what its folder holds, crashes between the last files, predictions made again."""

import json
from importlib import metadata

import pytest

from tests.engine.toy import Toy
from tests.engine.toy_runs import OPTIONS, plan_of, read, recipe_of
from wsis.declare.recipe import Recipe
from wsis.declare.scale import load_scale
from wsis.engine import execute, finish
from wsis.engine.folder import finished
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions


def test_a_finished_folder_holds_everything(tmp_path, toys):
    recipe = recipe_of()
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "my-data", OPTIONS)
    folder = tmp_path / "smoke" / "runs" / recipe.id
    there = sorted(p.name for p in folder.iterdir())
    sums = [name for name in there if name.endswith(".sha256")]
    plain = {".writer", "README.md", "checkpoints", *sums}
    assert sums == [f".{name}.sha256" for name in there if name not in plain]
    assert [name for name in there if name not in sums] == [
        ".writer",
        "README.md",
        "checkpoints",
        "environment.json",
        "log.jsonl",
        "model.json",
        "model.safetensors",
        "predictions.json",
        "recipe.json",
        "train.json",
    ]
    declared = read(folder, "recipe.json")
    assert declared["id"] == recipe.id and declared["scale"] == "smoke" and declared["parent"] is None
    assert declared["asked"] == {"set": {}, "data_root": {"coco": str(tmp_path / "my-data")}}
    assert Recipe.model_validate_json(json.dumps(declared["recipe"])).id == recipe.id
    train = read(folder, "train.json")
    assert train.keys() == {
        *("recipe", "scale", "seconds", "iterations", "resumed", "losses", "images_per_second", "devices"),
        *("device_name", "precision", "peak_memory", "code", "weights", "predictions", "deviations"),
        "data",
    }
    place = str(tmp_path / "my-data")
    prints = {"classes": "cd", "evaluation": "ef", "eval_listing": "gh"}
    counts = {"train_images": 9, "eval_images": 5}
    assert train["data"] == {"root_name": "my-data", "path": place, **counts, "fingerprint": "ab", **prints}
    about = read(folder, "model.json")
    assert about["categories"] == [{"id": 3, "name": "person"}, {"id": 7, "name": "kite"}]
    assert about["sizes"] == {"short_side": 800, "max_side": 1333} and about["protocols"] == ["coco"]
    assert {"variant: released -> paper", "data: train has 9 images, the official split 10"} <= {
        *train["deviations"]
    }
    assert len(read(folder, "predictions.json")) == 5
    packages = read(folder, "environment.json")["packages"]
    there = {each.name.lower() for each in metadata.distributions() if each.name}
    assert (
        packages.keys() == there >= {"torch", "timm", "scikit-image", "snakemake", "opencv-python-headless"}
    )


def test_a_training_that_was_stopped_before_its_prediction_is_not_repeated(tmp_path, toys, monkeypatch):
    recipe = recipe_of()
    folder = tmp_path / "smoke" / "runs" / recipe.id

    def interrupted(method, root, rank, world):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Toy, "samples", interrupted)
        train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    log = (folder / "log.jsonl").read_bytes()
    trained = (folder / "model.safetensors").stat().st_mtime_ns
    monkeypatch.setattr(execute, "train", None)
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert (folder / "model.safetensors").stat().st_mtime_ns == trained and (
        folder / "log.jsonl"
    ).read_bytes() == log
    assert finished(folder, recipe) and read(folder, "train.json")["iterations"] == 4


@pytest.mark.parametrize("crash", range(27))
def test_a_crash_before_any_of_the_last_file_operations_costs_no_training(tmp_path, toys, monkeypatch, crash):
    """The operations after the predictions: writes, removals, the card."""
    recipe = recipe_of()
    folder = tmp_path / "smoke" / "runs" / recipe.id
    each = RunOptions(
        accelerator="cpu", threads=1, train=TrainOptions(checkpoint_iterations=1, progress=False)
    )
    count = iter(range(100))

    def counted(operation):
        def call(*arguments, **options):
            if next(count) == crash:
                raise KeyboardInterrupt
            return operation(*arguments, **options)

        return call

    def watched(*arguments):
        for name in ("write_record", "seal", "write_card"):
            patch.setattr(finish, name, counted(getattr(finish, name)))
        patch.setattr(type(folder), "unlink", counted(type(folder).unlink))
        finish.finish(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(execute, "finish", watched)
        try:
            train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", each)
        except KeyboardInterrupt:
            pass
        else:
            assert crash >= next(count) - 1
    monkeypatch.setattr(execute, "train", None)
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert finished(folder, recipe) and read(folder, "train.json")["iterations"] == 4


def test_lost_predictions_are_made_again_without_training(tmp_path, toys, monkeypatch):
    recipe = recipe_of()
    folder = tmp_path / "smoke" / "runs" / recipe.id
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    (folder / "predictions.json").unlink()
    monkeypatch.setattr(execute, "train", None)
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert finished(folder, recipe) and read(folder, "train.json")["iterations"] == 4


def test_another_kind_of_device_than_the_scale_is_made_for_is_a_deviation(tmp_path, toys):
    recipe = recipe_of()
    for scale, expected in (("smoke", False), ("mini", True)):
        plan = plan_of(recipe)
        plan.scale = load_scale(scale)
        train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
        deviations = read(tmp_path / scale / "runs" / recipe.id, "train.json")["deviations"]
        assert ("trained on a processor instead of a graphics card" in deviations) == expected
