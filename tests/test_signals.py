"""A job at its time limit, with a scontrol that notes what it is asked for."""

import os
import signal
import subprocess
import sys

import pytest

from wsis import cli
from wsis.errors import WsisError
from wsis.signals import LIMIT, Interrupted, OneByOne, StopRequest, requeue, status_of


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """The file of what it was called with; write(status) makes the program."""

    def write(status=0):
        program = tmp_path / "bin" / "scontrol"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho disabled >&2\nexit {status}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
        return tmp_path / "calls"

    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_PROCID", "RANK"):
        monkeypatch.delenv(name, raising=False)
    return write


def test_the_notice_of_a_limit_has_a_status_of_its_own():
    assert status_of(signal.SIGUSR1) == LIMIT == 75
    assert status_of(signal.SIGTERM) == status_of(0) == 143


def test_outside_of_slurm_nothing_is_queued(scontrol):
    calls = scontrol()
    requeue()
    assert not calls.exists()


def test_a_job_is_queued_again_and_of_an_array_its_task_alone(scontrol, monkeypatch, capsys):
    calls = scontrol()
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    requeue()
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "55")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    requeue()
    assert calls.read_text().splitlines() == ["requeue 55", "requeue 55_3"]
    assert "Slurm job 55 goes on when Slurm starts it again" in capsys.readouterr().err


def test_a_cluster_that_queues_nothing_again_is_told(scontrol, monkeypatch, capsys):
    scontrol(1)
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    requeue()
    assert (
        "Slurm job 55 can't be put into the queue again (disabled): start it again" in capsys.readouterr().err
    )


@pytest.mark.parametrize(("name", "rank"), [("SLURM_PROCID", "SLURM_PROCID"), ("RANK", "SLURM_PROCID")])
def test_of_processes_that_were_started_together_one_queues_the_job(scontrol, monkeypatch, name, rank):
    """torchrun's ranks count over those of the srun that started it on each machine."""
    calls = scontrol()
    monkeypatch.setenv("SLURM_JOB_ID", "55")
    for number in "10":
        monkeypatch.setenv(rank, "0")
        monkeypatch.setenv(name, number)
        requeue()
    assert calls.read_text().splitlines() == ["requeue 55"]


@pytest.mark.parametrize(("number", "queued"), [(signal.SIGUSR1, ["requeue 55"]), (signal.SIGTERM, [])])
def test_a_command_that_was_stopped_for_its_limit_is_queued_again(scontrol, monkeypatch, number, queued):
    calls = scontrol()
    monkeypatch.setenv("SLURM_JOB_ID", "55")

    def stopped(prog_name):
        raise Interrupted("stopped after predicting 2 of 5 images", status_of(number))

    monkeypatch.setattr(cli, "app", stopped)
    monkeypatch.setattr(cli, "remember", lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == status_of(number)
    assert (calls.read_text().splitlines() if calls.exists() else []) == queued


def notice():
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_notice_before_anything_can_stop_is_remembered_once(remembers):
    notice()
    with StopRequest() as stop:
        assert stop.signal == signal.SIGUSR1
    with StopRequest() as stop:
        assert not stop.signal
        notice()
        assert stop.signal == signal.SIGUSR1
    with StopRequest() as stop:
        assert not stop.signal


LATE = """
import os, signal
from wsis.signals import remember
class Late:
    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGUSR1):
        kill(pid, number)
        print("still here", flush=True)
late = Late()  # deleted when Python has no handlers any more
remember()
"""


def test_a_notice_when_everything_is_done_ends_nothing():
    """Python gives signals their defaults back while it exits, which takes large libraries a second."""
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "still here\n")


def attempt(items, at, swallows=False, kept=True):
    """Do `items` one by one, with a notice in the middle of `at`: what was begun, what finished, and why."""
    begun, finished = [], []
    try:
        with OneByOne("doing {} of {} things", len(items), kept) as one_by_one:
            for item in items:
                begun.append(item)
                try:
                    if item == at:
                        notice()
                except WsisError as error:
                    raise WsisError(f"image 3: {error}") from None
                except BaseException:
                    if not swallows:
                        raise
                finished.append(item)
                one_by_one.finished()
    except Interrupted as error:
        assert error.status == LIMIT
        return begun, finished, str(error)
    return begun, finished, None


def test_at_a_limit_work_stops_at_once_where_it_made_progress(remembers):
    assert attempt("abcd", "c") == ([*"abc"], [*"ab"], "stopped after doing 2 of 4 things")


def test_at_a_limit_the_first_thing_is_finished(remembers):
    """Or the job is killed: what was queued again without progress would never end."""
    assert attempt("abcd", "a") == ([*"a"], [*"a"], "stopped after doing 1 of 4 things")
    notice()  # before the first one
    assert attempt("bcd", None) == ([*"b"], [*"b"], "stopped after doing 1 of 3 things")


def test_after_a_limit_s_stop_nothing_else_stops(remembers):
    attempt("ab", "a")
    assert attempt("ab", None) == ([*"ab"], [*"ab"], None)


def test_what_swallows_the_stop_is_left_when_its_item_is_finished(remembers):
    assert attempt("abcd", "b", swallows=True) == ([*"ab"], [*"ab"], "stopped after doing 2 of 4 things")


def test_what_the_next_attempt_would_begin_again_is_not_stopped(remembers):
    assert attempt("abcd", "b", kept=False) == ([*"abcd"], [*"abcd"], None)
    with StopRequest() as stop:
        assert stop.signal


def test_what_is_finished_is_not_stopped(remembers):
    assert attempt("a", "a") == ([*"a"], [*"a"], None)
    with StopRequest() as stop:  # what follows in the same process
        assert stop.signal
