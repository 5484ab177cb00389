"""Columns of large annotation files, kept on the disk and mapped into the memory of all that read them.

A file is parsed once a machine. Its columns lie in <cache>/<digest of path, size and time of change>/, a file
of numpy's each, with categories and fingerprint in about.json. The folder gets its name when it is whole; of
two writers one finds it there, and drops its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from wsis.checksums import fault, sealed
from wsis.data.annotations import COLUMNS, Annotations
from wsis.errors import WsisError
from wsis.files import read_json, remove_left, temporary_of, write_json

LEAST = 2**24  # bytes of a file whose columns are kept; a smaller one is parsed in less than a second
VERSION = 1

Parsed = tuple[Annotations, dict[str, Any]]  # columns, and what about.json says


def kept(file: Path, cache: Path | None, parse: Callable[[], Parsed]) -> Parsed:
    """What `parse` makes of an annotation file, or made of it before.

    cache: where columns are kept; None: nowhere. Where it can't be written, each process parses the file.
    """
    if cache is None or not is_large(file):
        return parse()
    state = file.stat()
    identity = f"{VERSION} {file.resolve()} {state.st_size} {state.st_mtime_ns}"
    place = cache / f"{file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
    if (found := _mapped(place)) is not None:
        return found
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / f".{place.name}.lock", "a") as lock:
            with suppress(OSError):  # a file system without locks: several processes parse, one is taken
                fcntl.flock(lock, fcntl.LOCK_EX)
            if (found := _mapped(place)) is not None:
                return found
            parsed = parse()
            _write(place, *parsed)
    except OSError as error:
        print(f"{place}: can't be kept ({error}): each process reads {file}", file=sys.stderr, flush=True)
        return parse()
    return _mapped(place) or parsed


def is_large(file: Path) -> bool:
    """Whether the columns of an annotation file are worth keeping."""
    return file.exists() and file.stat().st_size >= LEAST


def _mapped(place: Path) -> Parsed | None:
    """Columns that the system reads where they are looked at; None where there are none."""
    try:
        if any(fault(place / f"{name}.npy", whole=False) for name in COLUMNS):
            return None
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in COLUMNS}
        return Annotations(**arrays), read_json(place / "about.json")
    except (OSError, ValueError, WsisError):
        return None


def _write(place: Path, table: Annotations, about: dict[str, Any]) -> None:
    temporary = temporary_of(place)
    remove_left(place)
    try:
        for name in COLUMNS:
            with sealed(temporary / f"{name}.npy") as file:
                np.save(file, getattr(table, name))
        write_json(temporary / "about.json", about)
        try:
            os.rename(temporary, place)
        except OSError:
            if _mapped(place) is None:  # no other writer's: half a folder that somebody left
                shutil.rmtree(place, ignore_errors=True)
                os.rename(temporary, place)
    except WsisError as error:
        raise OSError(str(error)) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
