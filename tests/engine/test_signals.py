"""A Slurm job at its time limit, with a scontrol that notes what it is asked for."""

import os
import signal

import pytest

from wsis.engine.signals import LIMIT, StopRequest, remember, requeue, status_of


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

    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
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


def test_a_notice_before_anything_can_stop_is_remembered_once():
    former = signal.getsignal(signal.SIGUSR1)
    try:
        remember()
        os.kill(os.getpid(), signal.SIGUSR1)
        with StopRequest() as stop:
            assert stop.signal == signal.SIGUSR1
        with StopRequest() as stop:
            assert not stop.signal
            os.kill(os.getpid(), signal.SIGUSR1)
            assert stop.signal == signal.SIGUSR1
        with StopRequest() as stop:
            assert not stop.signal
    finally:
        signal.signal(signal.SIGUSR1, former)
