"""One writer a run: a lock on its folder that the writer's death releases, whatever kills it.

The locks are POSIX record locks (`fcntl.lockf`). They hold between machines on NFS 4 (and 3 with lockd),
GPFS, CephFS, Lustre mounted with `flock` and BeeGFS with global file locks. A killed process' lock is free at
once, that of a machine that died when its lease is over (NFS: 90 seconds). A process' children don't inherit
them, unlike those of `flock`, which libraries such as filelock use: an orphaned reader of images would keep a
dead training's lock.

Byte 0 of the lock file is the run's; the processes of a training on several devices hold a byte each after
it, so that none of them, should it outlive the first, writes beside the next training.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsis.disk import writing
from wsis.errors import WsisError

LOCK = ".writer"  # in a run's folder; says who writes it
POLL = 2.0  # seconds between attempts
_HELD = (errno.EACCES, errno.EAGAIN)
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def sole_writer(folder: Path) -> Iterator[None]:
    """Hold the run in `folder` alone until the context ends; waits for whoever holds it.

    Where the file system has no locks, a line says so, and nothing is locked.
    """
    path = folder / LOCK
    with writing(path):
        folder.mkdir(parents=True, exist_ok=True)
    with _opened(path) as file:
        told = False
        while not _lock(file, path):
            if not told:
                print(f"{folder.name}: waits for {_holder(path)}", file=sys.stderr, flush=True)
                told = True
            time.sleep(POLL)
        with writing(path):
            os.ftruncate(file, 0)
            os.pwrite(file, _name().encode(), 0)
            os.fsync(file)
        _lock(file, path, fcntl.LOCK_UN, 0, 1)  # for the processes of this training
        yield


@contextmanager
def fellow_writer(folder: Path, rank: int) -> Iterator[None]:
    """Hold process `rank`'s part of the run, beside the process that holds the run and started this one."""
    with _opened(folder / LOCK) as file:
        if not _lock(file, folder / LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1 + rank):
            raise WsisError(f"{folder}: {_holder(folder / LOCK)} has taken it over")
        yield


def held(folder: Path) -> bool:
    """Whether a process writes the run in `folder`; False where it can't be told."""
    path = folder / LOCK
    try:
        with _opened(path, os.O_RDWR) as file:
            return not _lock(file, path)
    except (OSError, WsisError):
        return False


@contextmanager
def _opened(path: Path, mode: int = os.O_RDWR | os.O_CREAT) -> Iterator[int]:
    with writing(path):
        file = os.open(path, mode | os.O_CLOEXEC, 0o666)
    try:
        yield file
    finally:
        os.close(file)  # and releases


def _lock(
    file: int, path: Path, kind: int = fcntl.LOCK_EX | fcntl.LOCK_NB, length: int = 0, start: int = 0
) -> bool:
    """Lock or unlock bytes (length 0: all from `start` on); False where another process holds some."""
    try:
        fcntl.lockf(file, kind, length, start)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _UNSUPPORTED:
            raise WsisError(f"{path}: can't be locked: {error.strerror}") from None
        text = f"{path}: no locks here ({error.strerror}): start no second training of this run"
        print(text, file=sys.stderr, flush=True)
    return True


def _name() -> str:
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}{f' (Slurm job {job})' if job else ''}"


def _holder(path: Path) -> str:
    """Who wrote itself into the lock file last. Opened only by processes without a lock on it."""
    return path.read_text() or "another process"
