"""Disks that are full, read-only or broken: one line names file and disk; and room is asked for before."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsis.errors import WsisError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # no room, a quota, a limit of files' size
_BROKEN = {errno.EROFS, errno.EIO, errno.ESTALE}  # read-only, a fault, a server that is gone


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """While entered, an OSError becomes a WsisError: `path` can't be written, and why."""
    try:
        yield
    except OSError as error:
        raise WsisError(f"{path}: can't be written: {disk_error(error, path) or error}") from None


def disk_error(error: OSError, path: Path | None = None) -> str | None:
    """What is wrong with the disk under `path` (default: the error's), what to do; None for other errors.

    'No space left on device (12 MB free on the disk at /data): make room, then start again'
    """
    if error.errno not in _FULL | _BROKEN:
        return None
    todo = "make room" if error.errno in _FULL else "mend the disk"
    if path is None and error.filename is None:
        return f"{error.strerror}: {todo}, then start again"
    disk = mount_of(path or Path(os.fsdecode(error.filename)))
    free = shutil.disk_usage(disk).free / 1e6
    return f"{error.strerror} ({free:.0f} MB free on the disk at {disk}): {todo}, then start again"


def mount_of(path: Path) -> Path:
    """Where the disk is mounted that holds `path`, which need not exist."""
    path = Path(os.path.realpath(path))
    while not path.is_mount():
        path = path.parent
    return path


def ask_for_room(folders: dict[Path, float]) -> None:
    """Raise WsisError unless the disk has room for what is to be written. folders: folder -> GB in the end.

    What a folder holds already is counted as written. All lie on one disk, that of the first.
    """
    if not folders:
        return
    place = next(iter(folders))
    disk = mount_of(place)
    if os.statvfs(disk).f_flag & os.ST_RDONLY:
        raise WsisError(f"{place}: the disk at {disk} is read-only; give another folder with --results")
    wanted = sum(max(0.0, size - _held(folder)) for folder, size in folders.items())
    free = shutil.disk_usage(disk).free / 1e9
    if wanted > free:
        raise WsisError(
            f"{place.parent}: {len(folders)} run(s) take about {_words(wanted)} more, {_words(free)} are free"
            f" on the disk at {disk}; make room, or give another folder with --results"
        )


def _words(gigabytes: float) -> str:
    return f"{gigabytes:.3g} GB" if gigabytes >= 1 else f"{1000 * gigabytes:.3g} MB"


def _held(folder: Path) -> float:
    """GB of the files in a folder."""
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e9
