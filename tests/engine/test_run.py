"""Runs of a plan: order, skipping, failures, two trainers. Toy data and toy methods."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch

from tests.engine.processes import FORK, wait_for
from tests.engine.toy import Toy
from tests.engine.toy_runs import OPTIONS, plan_of, read, recipe_of
from wsis.engine import execute
from wsis.engine.folder import finished
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.methods.weights import load_model
from wsis.results import writer
from wsis.signals import Interrupted


def test_finished_runs_are_skipped_and_roots_opened_once(tmp_path, toys):
    first, second = recipe_of(0), recipe_of(1)
    plan = plan_of(first, second)
    train_runs(plan, [first.id], tmp_path, tmp_path / "d", OPTIONS)
    train_runs(plan, [first.id, second.id], tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == [first.id, second.id] and toys.opened == 1
    (tmp_path / "smoke" / "runs" / first.id / "predictions.json").unlink()
    assert not finished(tmp_path / "smoke" / "runs" / first.id, first)


def test_a_run_of_other_settings_is_trained_anew_though_its_id_is_the_same(tmp_path, toys, capsys):
    recipe = recipe_of()
    folder = tmp_path / "smoke" / "runs" / recipe.id
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    declared = read(folder, "recipe.json")
    declared["recipe"]["predict"]["nms"] = 0.55
    write_json(folder / "recipe.json", declared)
    write_json(folder / "checkpoints" / "trained.json", {"recipe": recipe.id, "summary": {}})
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == [recipe.id, recipe.id] and finished(folder, recipe)
    text = f"{recipe.id}: trained with predict.nms 0.55 (planned: 0.6): starts afresh"
    assert text in capsys.readouterr().err
    assert read(folder, "train.json")["iterations"] == 4


def test_a_run_whose_train_json_alone_was_deleted_is_not_trained_again(tmp_path, toys):
    first, second = recipe_of(0), recipe_of(1)
    plan = plan_of(first, second)
    train_runs(plan, [first.id], tmp_path, tmp_path / "d", OPTIONS)
    folder = tmp_path / "smoke" / "runs" / first.id
    before = read(folder, "train.json")
    (folder / "train.json").unlink()
    train_runs(plan, [first.id, second.id], tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == [first.id, second.id]
    assert read(folder, "train.json") == before
    (folder / "train.json").unlink()
    (folder / "model.safetensors").unlink()
    train_runs(plan, [first.id], tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == [first.id, second.id, first.id]


def test_a_child_starts_from_its_parent_and_predict_only_trains_nothing(tmp_path, toys):
    parent = recipe_of(0)
    child = recipe_of(0, parent.id, iterations=0)
    train_runs(plan_of(parent, child), [parent.id, child.id], tmp_path, tmp_path / "d", OPTIONS)
    folders = [tmp_path / "smoke" / "runs" / recipe.id for recipe in (parent, child)]
    models = [load_model(folder / "model.safetensors")["model"] for folder in folders]
    assert all(torch.equal(models[0][name], value) for name, value in models[1].items())
    assert read(folders[1], "train.json")["iterations"] == 0
    assert read(folders[1], "recipe.json")["parent"] == parent.id


def test_a_child_is_trained_again_when_its_parent_was(tmp_path, toys):
    """The weights that the child started from are recorded."""
    parent = recipe_of(0)
    child = recipe_of(0, parent.id, iterations=0)
    plan, ids = plan_of(parent, child), [parent.id, child.id]
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    folders = [tmp_path / "smoke" / "runs" / id for id in ids]
    start = read(folders[1], "train.json")["parent"]
    assert start == {"id": parent.id, "weights": read(folders[0], "train.json")["weights"]}
    for folder in folders:
        (folder / "train.json").unlink()
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == ids, "nothing had changed"
    shutil.rmtree(folders[0])
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == [*ids, parent.id], "the parent has the weights that it had"
    times = [(folder / "train.json").stat().st_mtime_ns for folder in folders]
    assert times[0] <= times[1], "the child counts as finished"
    toys.built.clear()

    shutil.rmtree(folders[0])
    toys.shift = 0.5
    train_runs(plan, ids, tmp_path, tmp_path / "d", OPTIONS)
    assert toys.built == ids
    assert read(folders[1], "train.json")["parent"]["weights"] == read(folders[0], "train.json")["weights"]
    assert read(folders[0], "train.json")["weights"] != start["weights"]


def test_a_failing_run_stops_only_what_starts_from_it(tmp_path, toys, capsys):
    bad = recipe_of(13)
    child, good = recipe_of(14, bad.id), recipe_of(2)
    toys.failing.add(13)
    with pytest.raises(WsisError) as error:
        ids = [bad.id, child.id, good.id]
        train_runs(plan_of(bad, child, good), ids, tmp_path, tmp_path / "d", OPTIONS)
    assert f"{bad.id}: " in str(error.value) and "not finite at iteration 0" in str(error.value)
    assert f"{child.id}: its parent {bad.id} failed" in str(error.value)
    assert good.id not in str(error.value)
    assert finished(tmp_path / "smoke" / "runs" / good.id, good)
    assert f"{bad.id} failed" in capsys.readouterr().err


def test_a_signal_stops_the_following_runs_too(tmp_path, toys, monkeypatch):
    first, second = recipe_of(0), recipe_of(1)

    def stopped(*arguments):
        raise Interrupted("stopped at iteration 3 of 4", 143)

    monkeypatch.setattr(execute, "train", stopped)
    with pytest.raises(Interrupted) as error:
        train_runs(plan_of(first, second), [first.id, second.id], tmp_path, tmp_path / "d", OPTIONS)
    assert error.value.status == 143 and toys.built == [first.id]


def test_unknown_runs_and_missing_roots_are_refused(tmp_path, toys):
    recipe = recipe_of()
    with pytest.raises(WsisError, match="no run nonsense-1 at scale smoke"):
        train_runs(plan_of(recipe), ["nonsense-1"], tmp_path)
    with pytest.raises(WsisError, match="trains on coco: give its root"):
        train_runs(plan_of(recipe), [recipe.id], tmp_path, None, OPTIONS)


def test_a_training_process_imports_only_its_own_methods_libraries():
    """BAISeg's extraction and its libraries take as long to import as a training of a few steps."""
    slow = {"scipy", "skimage", "pandas", "matplotlib"}
    code = f"import sys, wsis.engine.run, wsis.methods.boxinst.method; print({slow} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_out_of_memory_it_goes_on_with_half_as_many_images_at_once(tmp_path, toys, monkeypatch, capsys):
    fits, step = {"images": 1}, Toy.losses

    def losses(method, batch, generator):
        if len(batch.ids) > fits["images"]:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nMore")
        return step(method, batch, generator)

    monkeypatch.setattr(Toy, "losses", losses)
    recipe = recipe_of()
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", OPTIONS)
    folder = tmp_path / "smoke" / "runs" / recipe.id
    text = "1 instead of 4 images at once, batch 4 kept by accumulation"
    record = read(folder, "train.json")
    assert text in record["deviations"] and record["iterations"] == 4
    printed = capsys.readouterr().err
    for images in (2, 1):
        assert f"goes on from its last checkpoint with {images} images at once" in printed
    assert "CUDA out of memory. Tried to allocate 2 GiB)" in printed and text in printed

    fits["images"] = 0
    other = recipe_of(1)
    with pytest.raises(WsisError, match="one image at once doesn't fit: CUDA out of memory"):
        train_runs(plan_of(other), [other.id], tmp_path, tmp_path / "d", OPTIONS)


def test_more_devices_than_a_recipe_can_use_are_left_alone(tmp_path, toys):
    recipe = recipe_of()  # of one device
    options = RunOptions(accelerator="cpu", devices=8, threads=1, train=TrainOptions(progress=False))
    train_runs(plan_of(recipe), [recipe.id], tmp_path, tmp_path / "d", options)
    assert read(tmp_path / "smoke" / "runs" / recipe.id, "train.json")["devices"] == 1


def _trains(plan, ids, folder, go):
    """Train; the sixth step waits for the event `go`."""
    shown, calls = Toy.losses, itertools.count(1)

    def held(method, batch, generator):
        if next(calls) == 6:
            go.wait(120)
        return shown(method, batch, generator)

    Toy.losses = held
    options = RunOptions(
        accelerator="cpu", threads=1, train=TrainOptions(checkpoint_iterations=1, progress=False)
    )
    train_runs(plan, ids, folder, folder / "d", options)


@pytest.mark.parametrize("killed", [False, True])
def test_a_second_trainer_waits_for_the_first_and_takes_over_from_a_dead_one(
    tmp_path, toys, monkeypatch, capsys, killed
):
    monkeypatch.setattr(execute, "seed_process", lambda name, seed: torch.manual_seed(0))
    recipe = recipe_of(iterations=20)
    plan, folder = plan_of(recipe), tmp_path / "two" / "smoke" / "runs" / recipe.id
    train_runs(plan, [recipe.id], tmp_path / "one", tmp_path / "d", OPTIONS)
    toys.built.clear()
    go = FORK.Event()
    first = FORK.Process(target=_trains, args=(plan, [recipe.id], tmp_path / "two", go))
    first.start()
    wait_for(folder / "checkpoints" / "previous.pt", first)

    def sleep(seconds):
        """What the second does between two attempts."""
        if killed:
            first.kill()
        go.set()
        time.sleep(0.05)

    monkeypatch.setattr(writer, "time", SimpleNamespace(sleep=sleep))
    train_runs(plan, [recipe.id], tmp_path / "two", tmp_path / "d", OPTIONS)
    first.join()
    assert f"{recipe.id}: waits for process {first.pid} on" in capsys.readouterr().err
    assert toys.built == ([recipe.id] if killed else [])
    assert read(folder, "train.json")["resumed"] == (1 if killed else 0)
    files = [
        path / recipe.id / "model.safetensors"
        for path in (tmp_path / "one/smoke/runs", tmp_path / "two/smoke/runs")
    ]
    assert files[0].read_bytes() == files[1].read_bytes()
    log = [json.loads(line)["iteration"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert log == list(range(20))
