"""Trainings in processes of their own, to be killed or told to stop.

None of them can be too quick for that on a busy machine: their streams hold the last batches back.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsis.signals import Interrupted

FORK = multiprocessing.get_context("fork")  # a real process to kill, without importing torch again


def _work(function: Callable, errors: Any, arguments: tuple) -> None:
    try:
        function(*arguments)
    except Interrupted as error:
        errors.put(str(error))
        os._exit(error.status)


def start(function: Callable, *arguments: object) -> tuple[Any, Any]:
    """A process that calls the function, and the queue of what it says when it is interrupted."""
    errors = FORK.SimpleQueue()
    process = FORK.Process(target=_work, args=(function, errors, arguments))
    process.start()
    return process, errors


def wait_for(path: Path, process: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.is_alive(), f"ended with {process.exitcode} before {path} appeared"
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.005)


def hold(mark: Path, seconds: float = 120) -> None:
    """Make the file `mark`, and return once this process is told to stop, if it isn't killed."""
    mark.touch()
    end = time.monotonic() + seconds
    while not signal.getsignal(signal.SIGTERM).__self__.signal:  # of the training's StopRequest
        if time.monotonic() > end:
            raise TimeoutError("neither killed nor told to stop")
        time.sleep(0.01)
