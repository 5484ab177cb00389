"""SIGTERM and SIGUSR1 ask a command to keep what it has done and stop; after SIGUSR1 it is to go on later.

A scheduler sends SIGUSR1, the notice, a while before a job's time limit (Slurm: --signal=USR1@300). A command
that has stopped for it exits with a status of its own, and its Slurm job is put into the queue again: work
may be longer than a job, and only a job without progress fails. The notice comes once: where nothing can stop
yet (libraries are imported, images are listed, a network is built), it is remembered (`remember`).

What can be cut anywhere looks for a StopRequest: trainings after each step, predictions after each group of
images. What is done item by item counts what it has finished (`OneByOne`). No torch here.
"""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from types import FrameType, TracebackType

from wsis.errors import WsisError

ENDS = signal.SIGINT
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
LIMIT = 75  # exit status after SIGUSR1: EX_TEMPFAIL of sysexits.h, to be tried again


_remembered: list[int] = []  # a notice that nothing has answered yet


class Interrupted(WsisError):
    """Work stopped by a signal, what it has done is kept; `status` is the exit status to use."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def status_of(number: int) -> int:
    """The exit status of a command that the signal `number` stopped when it had kept what it had done."""
    return LIMIT if number == signal.SIGUSR1 else 128 + (number or signal.SIGTERM)


def leave(number: int) -> None:
    """Leave a signal that came too late for what was running to what can stop next."""
    _remembered.append(number)


def remember() -> None:
    """From now on this process remembers SIGUSR1 for what can stop next; while Python exits, it is ignored.

    It would end a process that is done, with a status of failure, as handlers go before the libraries do.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, lambda number, frame: leave(number))
        atexit.register(signal.signal, signal.SIGUSR1, signal.SIG_IGN)


class StopRequest:
    """While entered, the first SIGTERM or SIGUSR1 only sets `signal` (its number; 0 before).

    So does one that was remembered.
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


class _Stop(BaseException):
    """Passes through what handles errors, up to OneByOne."""


class OneByOne:
    """While entered, the notice of a limit stops work whose items are finished one by one (`finished`).

    It raises Interrupted at once where an item is finished, which the next attempt leaves as it is, and else
    when the first one is. An attempt that finishes none before its limit is killed there: that is a failure.
    After the last item there is nothing to stop.
    """

    def __init__(self, what: str, total: int, kept: bool) -> None:
        """what: "evaluating {} of {} runs", say; total: the items that are left for this attempt.

        kept: whether the next one knows what this one finished; else nothing stops, or it would never end.
        """
        self.what, self.total, self.kept, self.done = what, total, kept, 0

    def finished(self, items: int = 1) -> None:
        """So many items more are finished, and their files are written."""
        self.done += items
        if _remembered:
            self._stop()

    def __enter__(self) -> OneByOne:
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.former = signal.signal(signal.SIGUSR1, self._notice)
        return self

    def _notice(self, number: int, frame: FrameType | None) -> None:
        leave(number)  # for `finished`, where nothing may be raised: in a destructor, say
        if self.done:
            self._stop()

    def _stop(self) -> None:
        if self.kept and self.done < self.total:
            raise _Stop

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.main:
            signal.signal(signal.SIGUSR1, self.former)
        if isinstance(error, _Stop):
            status = status_of(_remembered[0])
            _remembered.clear()
            raise Interrupted(f"stopped after {self.what.format(self.done, self.total)}", status) from None


def requeue() -> None:
    """Put this process' Slurm job into the queue again; nothing happens outside of Slurm.

    Of processes that were started together, by srun or torchrun, the first one does it. Where the cluster
    doesn't allow it, a line says so: the rest is then left to the workflow's retries.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if not job or int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0):
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
