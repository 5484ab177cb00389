"""SIGTERM and SIGUSR1 ask a run to keep what it has done and stop; after SIGUSR1 it is to go on later.

A scheduler sends SIGUSR1 a while before a job's time limit (Slurm: --signal=USR1@300). A run that has stopped
for it exits with a status of its own, and its Slurm job is put into the queue again: a run may be longer than
a job, and only a job without progress fails. The signal comes once: where nothing can stop yet (images are
listed, a network is built), it is remembered (`remember`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from types import FrameType, TracebackType

import torch
from lightning_fabric import Fabric

from wsis.errors import WsisError

ENDS = signal.SIGINT
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
LIMIT = 75  # exit status after SIGUSR1: EX_TEMPFAIL of sysexits.h, to be tried again


_remembered: list[int] = []  # a notice that nothing has answered yet


class Interrupted(WsisError):
    """A run stopped by a signal, what it has done is kept; `status` is the exit status to use."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def status_of(number: int) -> int:
    """The exit status of a run that the signal `number` stopped when it had kept what it had done."""
    return LIMIT if number == signal.SIGUSR1 else 128 + (number or signal.SIGTERM)


def remember() -> None:
    """From now on this process remembers SIGUSR1 for the next StopRequest, outside of one."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, lambda number, frame: _remembered.append(number))


def stop_together(fabric: Fabric, number: int, text: str) -> None:
    """Raise Interrupted on every rank where the signal `number` (0: none) has reached one of them.

    A rank that has nothing left to do waits here for the others.
    """
    if fabric.world_size > 1:
        reached = torch.tensor(float(number), device=fabric.device)
        number = int(fabric.all_reduce(reached, reduce_op="max"))
    if number:
        raise Interrupted(text, status_of(number))


def requeue() -> None:
    """Put this process' Slurm job into the queue again; nothing happens outside of Slurm.

    Where the cluster doesn't allow it, a line says so: the rest is then left to the workflow's retries.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job:
        return
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):  # one of its tasks has the array's own id
        job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True, timeout=60)
        text = "goes on when Slurm starts it again"
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        text = f"can't be put into the queue again ({reason}): start it again"
    print(f"Slurm job {job} {text}", file=sys.stderr, flush=True)


class StopRequest:
    """While entered, the first SIGTERM or SIGUSR1 only sets `signal` (its number; 0 before).

    So does a SIGUSR1 that was remembered.
    ends: so does the first SIGINT (Ctrl-C), which asks for an early end; a second one interrupts as ever
    """

    def __init__(self, ends: bool = False) -> None:
        self.signal = 0
        self.numbers = (*SIGNALS, ENDS) if ends else SIGNALS

    @property
    def ends(self) -> bool:
        """Whether an early end is asked for."""
        return self.signal == ENDS

    def __enter__(self) -> StopRequest:
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.former = {number: signal.signal(number, self._set) for number in self.numbers}
            while _remembered:
                self.signal = _remembered.pop()
        return self

    def _set(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number == ENDS:
            raise KeyboardInterrupt
        self.signal = self.signal or number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.main:
            for number, handler in self.former.items():
                signal.signal(number, handler)
