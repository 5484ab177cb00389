"""What is damaged in a run is not used: another run's weights are refused, its own files are made again."""

import os
import random

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.engine.toy_runs import OPTIONS, plan_of, recipe_of
from tests.faults.damage import swapped
from wsis.checksums import fault, seal
from wsis.engine.run import train_runs
from wsis.errors import WsisError
from wsis.files import digest
from wsis.finished import lacking
from wsis.records import read_record


def flip(path):
    """Flip a bit, as a disk does it: size and time stay."""
    status, content, draw = path.stat(), bytearray(path.read_bytes()), random.Random(1)
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_damaged_weights_of_a_parent_fail_the_child_alone(tmp_path, toys):
    parent, other = recipe_of(), recipe_of(2)
    child = recipe_of(1, parent.id)
    plan = plan_of(parent, child, other)
    train_runs(plan, [parent.id], tmp_path, tmp_path / "d", OPTIONS)
    weights = tmp_path / "smoke" / "runs" / parent.id / "model.safetensors"
    whole = weights.read_bytes()
    flip(weights)
    with pytest.raises(WsisError) as failed:
        train_runs(plan, [child.id, other.id], tmp_path, tmp_path / "d", OPTIONS)
    assert f"{child.id}: {weights}: damaged: " in str(failed.value) and other.id not in str(failed.value)
    assert "delete it and start its run again (`wsis verify` names the command)" in str(failed.value)
    weights.unlink()  # as it says
    train_runs(plan, [parent.id, child.id], tmp_path, tmp_path / "d", OPTIONS)
    assert weights.read_bytes() == whole and lacking(weights.parents[1] / child.id, child) is None


SMALL = ["recipe.json", "train.json", "checkpoints/finished.json", "checkpoints/trained.json"]
SMALL += ["checkpoints/origin.json", "environment.json", "model.json", "log.jsonl", "predictions.json"]
OTHER_RUN = '{"id": "sim-0123456789", "recipe": "sim-0123456789", "run": "sim-0123456789"}'


@pytest.mark.parametrize("content", ["", OTHER_RUN])
@pytest.mark.parametrize("name", SMALL)
def test_damaged_small_files_of_a_run_stop_nothing(tmp_path, toys, name, content):
    """The run is finished again, with the same weights; the others are left alone."""
    recipe, other = recipe_of(), recipe_of(2)
    plan, runs = plan_of(recipe, other), tmp_path / "smoke" / "runs"
    train_runs(plan, [recipe.id, other.id], tmp_path, tmp_path / "d", OPTIONS)
    weights, before = (runs / recipe.id / "model.safetensors").read_bytes(), toys.built.copy()
    (runs / recipe.id / name).write_text(content)
    train_runs(plan, [recipe.id, other.id], tmp_path, tmp_path / "d", OPTIONS)
    assert lacking(runs / recipe.id, recipe) is None and other.id not in toys.built[len(before) :]
    assert (runs / recipe.id / "model.safetensors").read_bytes() == weights
    if name not in ("environment.json", "log.jsonl") and "checkpoints" not in name:
        assert fault(runs / recipe.id / name) is None


@pytest.mark.parametrize("name", ["trained.json", "origin.json"])
@pytest.mark.parametrize("content", ["[]", OTHER_RUN])
def test_damaged_notes_of_an_unfinished_run_stop_nothing(tmp_path, toys, name, content):
    recipe = recipe_of()
    plan, folder = plan_of(recipe), tmp_path / "smoke" / "runs" / recipe.id
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "predictions.json").unlink()
    (folder / "checkpoints" / name).write_text(content)
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert lacking(folder, recipe) is None and (folder / "model.safetensors").read_bytes() == weights


def test_own_damaged_weights_are_trained_again_when_predictions_are_due(tmp_path, toys, capsys):
    recipe = recipe_of()
    plan, folder = plan_of(recipe), tmp_path / "smoke" / "runs" / recipe.id
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "predictions.json").unlink()
    flip(folder / "model.safetensors")
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert "trains again: " in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == whole and lacking(folder, recipe) is None


@pytest.mark.parametrize("name", ["model.safetensors", "predictions.json"])
def test_files_that_are_exchanged_with_their_checksums_are_made_again(tmp_path, toys, name):
    recipes = recipe_of(), recipe_of(2)
    plan, runs = plan_of(*recipes), [tmp_path / "smoke" / "runs" / recipe.id for recipe in recipes]
    ids = [recipe.id for recipe in recipes]
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    if name == "predictions.json":  # the toys predict the same
        for run, recipe in zip(runs, recipes, strict=True):
            told = read_record(run / "train.json")
            assert told["predictions"] == digest(run / name) and lacking(run, recipe) is None
        (runs[1] / name).write_text("[{}]")
        seal(runs[1] / name)
    whole = [(run / "model.safetensors").read_bytes() for run in runs]
    swapped(runs[0] / name, runs[1] / name, whole=True)
    assert fault(runs[0] / name) is None and "another run's" in lacking(runs[0], recipes[0])
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    for run, recipe, weights in zip(runs, recipes, whole, strict=True):
        assert lacking(run, recipe) is None and (run / "model.safetensors").read_bytes() == weights
    assert (runs[0] / "predictions.json").read_bytes() != b"[{}]"


def test_weights_of_another_training_are_not_ones_that_lack_only_predictions(tmp_path, toys, capsys):
    """Their file names the same recipe: another machine's, say."""
    recipe = recipe_of()
    plan, folder = plan_of(recipe), tmp_path / "smoke" / "runs" / recipe.id
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    whole, content = (folder / "model.safetensors").read_bytes(), load_file(folder / "model.safetensors")
    changed = {name: value + 1 for name, value in content.items()}
    with safe_open(folder / "model.safetensors", "pt") as file:
        save_file(changed, folder / "model.safetensors", file.metadata())
    seal(folder / "model.safetensors")
    assert "another run's" in lacking(folder, recipe)
    train_runs(plan, [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert "model.safetensors is another run's" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == whole and lacking(folder, recipe) is None
