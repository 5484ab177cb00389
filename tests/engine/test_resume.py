"""Trainings in processes of their own that are killed, told to stop, or split over two devices."""

import json
import os
import random
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.engine.processes import start, wait_for
from tests.engine.toy import toy_recipe, train_toy, train_toy_parallel
from wsis.engine import launch as engine_launch
from wsis.engine import train as engine_train
from wsis.engine.checkpoint import load_checkpoint
from wsis.engine.memory import OutOfMemory
from wsis.errors import WsisError
from wsis.methods.weights import load_model
from wsis.signals import LIMIT, Interrupted, StopRequest, remember

TOTAL = toy_recipe().schedule.total


def killed(folder, pause, every, sign, wait=0.0):
    """Train in another process and kill it `wait` seconds after the file `sign` has appeared."""
    process, _ = start(train_toy, folder, 1, pause, every)
    wait_for(folder / sign, process)
    time.sleep(wait)
    process.kill()
    process.join()
    assert not (folder / "model.safetensors").exists()


def weights(folder):
    return load_model(folder / "model.safetensors")["model"]


def assert_every_step_once(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(TOTAL))
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train_toy(folder)
    return weights(folder)


def assert_equal_weights(folder, expected):
    found = weights(folder)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("attempt", range(5))
def test_killed_at_any_moment_and_started_again_ends_with_the_same_weights(tmp_path, uninterrupted, attempt):
    killed(tmp_path, 0.02, 7, "checkpoints/last.pt", random.Random(attempt).uniform(0, 0.4))
    summary = train_toy(tmp_path, every=7)
    assert summary["resumed"] == 1 and summary["iterations"] == TOTAL
    assert_equal_weights(tmp_path, uninterrupted)
    assert_every_step_once(tmp_path)


def test_killed_again_and_again_it_still_arrives(tmp_path, uninterrupted):
    """Checkpoints after every step, so that kills fall into their writing too."""
    for attempt in range(4):
        killed(tmp_path, 0.005, 1, "log.jsonl", random.Random(attempt).uniform(0.02, 0.12))
    train_toy(tmp_path, every=1)
    assert_equal_weights(tmp_path, uninterrupted)
    assert_every_step_once(tmp_path)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGUSR1, LIMIT)])
def test_a_signal_writes_a_checkpoint_and_stops(tmp_path, uninterrupted, number, status):
    process, errors = start(partial(train_toy, tmp_path, pause=0.01, held=9))
    wait_for(tmp_path / "held-9-0", process)
    os.kill(process.pid, number)
    process.join(30)
    assert process.exitcode == status
    assert "stopped at iteration" in errors.get()
    found = load_checkpoint(tmp_path / "checkpoints", toy_recipe().id)
    assert 0 < found["iteration"] < TOTAL and not (tmp_path / "model.safetensors").exists()
    train_toy(tmp_path)
    assert_equal_weights(tmp_path, uninterrupted)
    assert_every_step_once(tmp_path)


def test_a_training_over_three_time_limits_ends_with_the_weights_of_an_uncut_one(tmp_path, uninterrupted):
    done = []
    for held in (9, 19, 29):
        process, _ = start(partial(train_toy, tmp_path, held=held))
        wait_for(tmp_path / f"held-{held}-0", process)
        os.kill(process.pid, signal.SIGUSR1)
        process.join(30)
        assert process.exitcode == LIMIT
        done.append(load_checkpoint(tmp_path / "checkpoints", toy_recipe().id)["iteration"])
    assert 0 < done[0] < done[1] < done[2] < TOTAL, "each attempt made progress"
    assert train_toy(tmp_path)["resumed"] == 3
    assert_equal_weights(tmp_path, uninterrupted)
    assert_every_step_once(tmp_path)


def test_a_damaged_last_checkpoint_costs_time_but_not_exactness(tmp_path, uninterrupted):
    killed(tmp_path, 0.02, 3, "checkpoints/previous.pt")
    last = tmp_path / "checkpoints" / "last.pt"
    last.write_bytes(last.read_bytes()[:1000] if last.exists() else b"")
    with pytest.warns(UserWarning, match="unreadable"):
        train_toy(tmp_path)
    assert_equal_weights(tmp_path, uninterrupted)
    assert_every_step_once(tmp_path)


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path):
    killed(tmp_path, 0.02, 3, "checkpoints/last.pt")
    with pytest.raises(WsisError, match="checkpoint of recipe"):
        train_toy(tmp_path, lr=0.06)


@pytest.mark.parametrize("start_method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_two_processes_give_the_weights_of_one_that_accumulates(tmp_path, start_method):
    """Without dropout, whose process-wide generator is each process's own."""
    one = train_toy(tmp_path / "one", dropout=0.0)
    two = train_toy_parallel(tmp_path / "two", 2, dropout=0.0, start_method=start_method)
    assert one["devices"] == 1 and two["devices"] == 2
    assert two["deviations"] == ["2 device(s) instead of 1, batch 4 kept"]
    other = weights(tmp_path / "two")
    for name, value in weights(tmp_path / "one").items():
        torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-5)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two")]
    totals = [[json.loads(line)["total"] for line in log] for log in logs]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_a_signal_to_a_parallel_run_stops_all_processes_and_it_resumes_exactly(tmp_path):
    process, errors = start(train_toy_parallel, tmp_path, 2, 0.01)
    wait_for(tmp_path / f"held-{TOTAL - 2}-0", process)
    wait_for(tmp_path / f"held-{TOTAL - 2}-1", process)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert "stopped at iteration" in errors.get()
    train_toy_parallel(tmp_path, 2)
    train_toy_parallel(tmp_path / "whole", 2)
    assert_equal_weights(tmp_path, weights(tmp_path / "whole"))
    assert_every_step_once(tmp_path)


def predicts_for_long(folder):
    (folder / os.environ["LOCAL_RANK"]).touch()
    time.sleep(60)


def launched(folder):
    engine_launch.launch(predicts_for_long, (folder,), 2, "fork")


def test_a_signal_outside_of_the_training_loop_is_an_interruption_not_a_failure(tmp_path):
    process, errors = start(launched, tmp_path)
    wait_for(tmp_path / "0", process)
    wait_for(tmp_path / "1", process)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGTERM)
    process.join(60)
    assert process.exitcode == 143
    assert "signal 15" in errors.get()


def imports_for_long(folder):
    """As a process that is started by `spawn`: it inherits that the notice is ignored."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    (folder / os.environ["LOCAL_RANK"]).touch()
    time.sleep(1)
    remember()
    with StopRequest() as stop:
        while not stop.signal:
            time.sleep(0.01)
    (folder / f"stopped {os.environ['LOCAL_RANK']}").touch()
    while len([*folder.glob("stopped *")]) < 2:  # as ranks that agree
        time.sleep(0.01)
    raise Interrupted("stopped", LIMIT)


def launched_slowly(folder):
    engine_launch.AGAIN = 0.2
    engine_launch.launch(imports_for_long, (folder,), 2, "fork")


def test_a_notice_while_processes_start_reaches_them_later(tmp_path):
    process, errors = start(launched_slowly, tmp_path)
    wait_for(tmp_path / "0", process)
    wait_for(tmp_path / "1", process)
    time.sleep(0.2)
    os.kill(process.pid, signal.SIGUSR1)
    process.join(20)
    assert process.exitcode == LIMIT and errors.get() == "stopped"


def fails_on_the_second_rank(folder):
    if os.environ["LOCAL_RANK"] == "1":
        raise WsisError("image 12 can't be read")
    time.sleep(60)


def test_an_error_of_any_process_is_the_runs_error(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_launch, "GRACE", 0.5)
    begin = time.monotonic()
    with pytest.raises(WsisError, match=r"image 12 can't be read \(process 1\)"):
        engine_launch.launch(fails_on_the_second_rank, (tmp_path,), 2, "fork")
    assert time.monotonic() - begin < 30


def runs_out_of_memory():
    if os.environ["LOCAL_RANK"] == "1":
        raise OutOfMemory("CUDA out of memory")
    time.sleep(60)


def test_running_out_of_memory_in_one_process_is_told_apart_from_other_errors(monkeypatch):
    monkeypatch.setattr(engine_launch, "GRACE", 0.5)
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        engine_launch.launch(runs_out_of_memory, (), 2, "fork")


def listening():
    """Local addresses (hexadecimal, port) at which the two processes of a training listen."""
    fabric = engine_launch.make_fabric(toy_recipe().schedule, "cpu", range(2))
    fabric.barrier()
    mine = {os.readlink(file) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()}
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A" and f"socket:[{words[9]}]" in mine:
                found.append(words[1].partition(":")[0])
    found = [address for part in fabric.all_gather(_number(found)).tolist() for address in part]
    fabric.barrier()
    return found


def _number(addresses):
    assert all(len(address) == 8 for address in addresses), f"listens on IPv6: {addresses}"
    return torch.tensor([int(address, 16) for address in addresses], dtype=torch.int64)


def test_the_processes_of_a_training_listen_on_the_loopback_interface_alone():
    found = engine_launch.launch(listening, (), 2, "fork")
    loopback = int.from_bytes(bytes([127, 0, 0, 1]), sys.byteorder)
    assert found and set(found) == {loopback}


def stops_what_follows():
    with StopRequest() as stop:
        return stop.signal


def test_a_notice_after_the_last_step_stops_what_follows(tmp_path, monkeypatch):
    """Predictions: the training has nothing left to stop."""
    settle, steps = engine_train._Training._settle, []

    def late(training, step):
        steps.append(step)
        if len(steps) == TOTAL:
            os.kill(os.getpid(), signal.SIGUSR1)
        return settle(training, step)

    monkeypatch.setattr(engine_train._Training, "_settle", late)
    assert train_toy(tmp_path)["iterations"] == TOTAL
    assert stops_what_follows() == signal.SIGUSR1 and not stops_what_follows()


def ends_in_spite_of_the_notice(folder):
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    (folder / os.environ["LOCAL_RANK"]).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    return "result"


def test_a_notice_that_finished_processes_did_not_need_stops_what_follows(tmp_path):
    def notified():
        while len([*tmp_path.iterdir()]) < 2:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR1)
        (tmp_path / "go").touch()

    notifier = threading.Thread(target=notified)
    notifier.start()
    assert engine_launch.launch(ends_in_spite_of_the_notice, (tmp_path,), 2, "fork") == "result"
    notifier.join()
    assert stops_what_follows() == signal.SIGUSR1 and not stops_what_follows()
