"""SIM's trainings: its warm-up as a fork, and exact resume with bank, prototypes and momentum network."""

import json
import os
import signal
from functools import partial

import pytest
import torch

from tests.engine.crashing import assert_equal, weights
from tests.engine.processes import start, wait_for
from tests.methods.sim.toy import TOTAL, WARMUP, sim_recipe, train_sim, train_sim_parallel, warmup_recipe
from wsis.declare.specs.parents import InitSpec
from wsis.errors import WsisError


def logged(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train_sim(folder, sim_recipe())
    return folder


def test_everything_is_in_play(whole):
    """Else the equalities below would prove little."""
    losses = [line["losses"] for line in logged(whole)]
    assert all(step["loss_pseudo"] == step["loss_paste"] == 0 for step in losses[:WARMUP])
    assert all(step["loss_pseudo"] > 0 for step in losses[WARMUP:])
    assert sum(step["loss_paste"] > 0 for step in losses) > 2
    state = weights(whole)
    assert (state["prototypes.updates"] > 0).any()
    student, slow = state["head.cls_logits.weight"], state["momentum.head.cls_logits.weight"]
    assert not torch.equal(student, slow)


@pytest.mark.parametrize("crash", [3, 4, 5, 7, 10])
def test_a_crash_and_a_resume_change_nothing(tmp_path, whole, crash):
    recipe = sim_recipe()
    with pytest.raises(RuntimeError, match="crash"):
        train_sim(tmp_path, recipe, every=2, stop_after=crash)
    assert train_sim(tmp_path, recipe, every=2)["resumed"] == 1
    assert_equal(weights(tmp_path), weights(whole))
    assert [line["losses"] for line in logged(tmp_path)] == [line["losses"] for line in logged(whole)]
    kept = {path.name for path in (tmp_path / "checkpoints").glob("local-*")}
    assert kept == {f"local-{TOTAL - 2}-0.pt", f"local-{TOTAL}-0.pt"}, "memories of old checkpoints pile up"


def test_interrupted_twice_between_a_memory_and_its_checkpoint_nothing_is_lost(tmp_path, whole, monkeypatch):
    """Memories newer than any checkpoint are left behind, and later checkpoints come earlier than them."""
    recipe = sim_recipe()
    with pytest.raises(RuntimeError, match="crash"):
        train_sim(tmp_path, recipe, every=6, stop_after=8)  # a checkpoint at 6
    folder = tmp_path / "checkpoints"
    for orphan in (9, 10):
        (folder / f"local-{orphan}-0.pt").write_bytes((folder / "local-6-0.pt").read_bytes())
    (folder / ".local-11-0.pt.tmp").write_bytes(b"half")
    with pytest.raises(RuntimeError, match="crash"):
        train_sim(tmp_path, recipe, every=8, stop_after=9)  # the next at 8, before the orphans
    assert {path.name for path in folder.glob("local-*")} == {"local-6-0.pt", "local-8-0.pt"}
    (folder / "last.pt").write_bytes(b"damaged")  # and the one before still has its memory
    with pytest.warns(UserWarning, match="unreadable checkpoint"):
        train_sim(tmp_path, recipe)
    assert_equal(weights(tmp_path), weights(whole))


def test_without_its_bank_a_resumed_run_says_so_and_differs(tmp_path, whole):
    recipe = sim_recipe()
    with pytest.raises(RuntimeError, match="crash"):
        train_sim(tmp_path, recipe, every=2, stop_after=9)
    for path in (tmp_path / "checkpoints").glob("local-*"):
        path.unlink()
    with pytest.warns(UserWarning, match="empty memory"):
        train_sim(tmp_path, recipe)
    assert not torch.equal(
        weights(tmp_path)["head.controller.weight"], weights(whole)["head.controller.weight"]
    )


def test_killed_for_real_in_the_middle(tmp_path, whole):
    process, _ = start(partial(train_sim, tmp_path, sim_recipe(), every=1, held=WARMUP + 3))
    wait_for(tmp_path / "checkpoints" / f"local-{WARMUP + 2}-0.pt", process)
    process.kill()
    process.join()
    assert not (tmp_path / "model.safetensors").exists()
    assert train_sim(tmp_path, sim_recipe(), every=1)["resumed"] == 1
    assert_equal(weights(tmp_path), weights(whole))


def test_continuing_boxinsts_warm_up_is_the_same_as_one_training(tmp_path, whole):
    low = warmup_recipe()
    train_sim(tmp_path / "low", low)
    recipe = sim_recipe().model_copy(update={"init": InitSpec(parent=low.id, iteration=WARMUP)})
    summary = train_sim(tmp_path / "fork", recipe, parent=tmp_path / "low" / "model.safetensors")
    assert summary["iterations"] == TOTAL - WARMUP
    assert_equal(weights(tmp_path / "fork"), weights(whole))
    steps = [line["iteration"] for line in logged(tmp_path / "fork")]
    assert steps == list(range(WARMUP, TOTAL))


def test_a_warm_up_that_stopped_elsewhere_is_refused(tmp_path):
    low = warmup_recipe()
    train_sim(tmp_path / "low", low)
    recipe = sim_recipe().model_copy(update={"init": InitSpec(parent=low.id, iteration=WARMUP + 1)})
    with pytest.raises(WsisError, match="expected a warm-up of 5"):
        train_sim(tmp_path / "fork", recipe, parent=tmp_path / "low" / "model.safetensors")


def test_two_processes_stop_and_go_on_exactly_each_with_its_own_bank(tmp_path):
    recipe = sim_recipe(schedule__iterations=16)
    process, errors = start(train_sim_parallel, tmp_path / "stopped", recipe, 1, WARMUP + 3)
    wait_for(tmp_path / "stopped" / "held-0", process)
    wait_for(tmp_path / "stopped" / "held-1", process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143 and "stopped at iteration" in errors.get()
    train_sim_parallel(tmp_path / "stopped", recipe)
    train_sim_parallel(tmp_path / "whole", recipe)
    assert_equal(weights(tmp_path / "stopped"), weights(tmp_path / "whole"))
