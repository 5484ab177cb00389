"""A call of the command line in a process of its own, forked from one that has loaded the libraries.

What takes seconds at a start is thus loaded once. A fault strikes at an operation on files, or a share of the
time to the next one later, so that a busy machine doesn't move it to another stage.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.operations import watch

HUNG = 120.0  # seconds of one command


@dataclass
class Ended:
    """code: negative for a signal. told: operations and when they began, in seconds. pid: of its session."""

    pid: int
    code: int
    output: str
    cpu: float
    told: list[tuple[float, str, str]]


@dataclass(frozen=True)
class Strike:
    """What hits a process: a signal `seconds` after operation `number` began, or its death before it.

    whole: the signal is for its children as well
    """

    number: int
    seconds: float = 0.0
    signal: int | None = None
    whole: bool = False


def call(words: Sequence[str], folder: Path, strike: Strike | None = None) -> Ended:
    """Run `wsis` with these words in a folder to its end, which a fault may bring."""
    log = folder.with_suffix(".txt")
    log.write_bytes(b"")
    reads, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reads)
        _become(words, folder, log, tells, strike)
    os.close(tells)
    begin, told = time.monotonic(), list[tuple[float, str, str]]()
    with os.fdopen(reads, "rb") as lines:
        for line in lines:
            event, path = line.decode(errors="replace").rstrip("\n").split("\t", 1)
            told.append((time.monotonic() - begin, event, path))
            if strike and strike.signal and len(told) == strike.number + 1:
                time.sleep(strike.seconds)
                with suppress(ProcessLookupError):
                    os.kill(-pid if strike.whole else pid, strike.signal)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return Ended(pid, code, log.read_text(errors="replace"), usage.ru_utime + usage.ru_stime, told)


def end_session(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(-pid, signal.SIGKILL)


def _become(words: Sequence[str], folder: Path, log: Path, tells: int, strike: Strike | None) -> None:
    """Be that command, in a session of its own; never returns."""
    code = 1
    try:
        os.setsid()
        signal.alarm(int(HUNG))
        os.chdir(folder)
        for variable in ("HOME", "TMPDIR"):
            os.environ[variable] = str(folder / variable.lower())
        file = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.argv = ["wsis", *words]
        watch(folder, tells, strike.number if strike and strike.signal is None else None)
        runpy.run_module("wsis", run_name="__main__")
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
