"""One writer a run, with processes that are killed."""

import errno
import multiprocessing
import os
import signal
import socket
import time

import pytest

from tests.impatient import Waits, without_patience
from wsis.errors import WsisError
from wsis.results import writer
from wsis.results.writer import LOCK, fellow_writer, sole_writer

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def impatient(monkeypatch):
    without_patience(monkeypatch, writer)


def _hold(folder, ready, child):
    with sole_writer(folder):
        if child and os.fork() == 0:
            signal.alarm(60)
            signal.pause()
        ready.set()
        signal.pause()


@pytest.fixture
def held():
    """held(folder): a process that writes a run, once it does."""
    processes = []

    def start(folder, child=False):
        ready = FORK.Event()
        process = FORK.Process(target=_hold, args=(folder, ready, child))
        process.start()
        processes.append(process)
        assert ready.wait(30)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()


def test_a_second_writer_waits_and_says_for_whom(tmp_path, held, impatient, capsys, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    process = held(tmp_path / "run-1")
    with pytest.raises(Waits), sole_writer(tmp_path / "run-1"):
        pass
    text = f"run-1: waits for process {process.pid} on {socket.gethostname()} (Slurm job 55)\n"
    assert capsys.readouterr().err == text
    with sole_writer(tmp_path / "run-2"):
        pass


@pytest.mark.parametrize("child", [False, True])
def test_a_killed_writer_is_succeeded_at_once_whatever_its_children_do(tmp_path, held, monkeypatch, child):
    monkeypatch.setattr(writer, "POLL", 0.01)
    process = held(tmp_path, child)
    process.kill()
    begin = time.monotonic()
    with sole_writer(tmp_path):
        pass
    assert time.monotonic() - begin < 5
    assert f"process {os.getpid()} " in (tmp_path / LOCK).read_text()


def _fellow(folder, ready):
    with fellow_writer(folder, 1):
        ready.set()
        signal.pause()


def test_a_process_that_outlives_the_first_of_its_training_is_waited_for(tmp_path, impatient):
    ready = FORK.Event()
    with sole_writer(tmp_path):
        fellow = FORK.Process(target=_fellow, args=(tmp_path, ready))
        fellow.start()
        assert ready.wait(30)
    with pytest.raises(Waits), sole_writer(tmp_path):
        pass
    fellow.kill()
    fellow.join()
    with sole_writer(tmp_path):
        pass


def _late(folder, outcome):
    try:
        with fellow_writer(folder, 1):
            outcome.put("wrote")
    except WsisError as error:
        outcome.put(str(error))


def test_a_process_whose_training_was_taken_over_stops(tmp_path, held):
    process, ready, outcome = held(tmp_path), FORK.Event(), FORK.SimpleQueue()
    successor = FORK.Process(target=_fellow, args=(tmp_path, ready))
    successor.start()
    assert ready.wait(30)
    late = FORK.Process(target=_late, args=(tmp_path, outcome))
    late.start()
    late.join(30)
    successor.kill()
    successor.join()
    assert f"process {process.pid} on {socket.gethostname()} has taken it over" in outcome.get()


def test_a_file_system_without_locks_is_told_and_written_all_the_same(tmp_path, monkeypatch, capsys):
    def none(*arguments):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(writer.fcntl, "lockf", none)
    with sole_writer(tmp_path):
        pass
    assert "no locks here (No locks available): start no second training" in capsys.readouterr().err
