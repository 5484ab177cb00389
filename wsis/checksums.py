"""Checksums of the files that a run, a report or a later process reads again.

One rule for all of them: beside <name> lies .<name>.sha256, in the form that `sha256sum -c` takes, with the
file's size and time in a comment. Where these are unchanged, a look at a whole folder reads no content;
whoever uses a file compares all of it.

A file and its checksum can't be written at once. The old checksum goes first and the new one comes last, so
that a kill leaves a file without a checksum (it is whole, since it was renamed) and never with another's.
Files of former versions have none, either, and are taken as they are.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from wsis.errors import WsisError
from wsis.files import atomic, checksum_file, write_text

_FORM = re.compile(r"# (?P<size>\d+) bytes, written at (?P<time>\d+) ns\n(?P<digest>[0-9a-f]{64})  .+\n")

_ENTRY = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>.+)")
_OTHER = "has another content than was written (its checksum differs)"
LIST = "checksums.sha256"  # in a folder whose files have no checksum of their own


class DamagedFile(WsisError):
    """A file whose content is not what was written."""


@contextmanager
def sealed(path: Path) -> Iterator[BinaryIO]:
    """`wsis.files.atomic`, with a checksum of what is written."""
    path = Path(path)
    with atomic(path) as file:
        summing = _Summing(file)
        try:
            yield cast(BinaryIO, summing)
        except Exception as error:
            raise summing.failed or error from None
    _note(path, summing.sum.hexdigest())


def seal(path: Path) -> None:
    """Give a file that was written line by line a checksum of what it holds now."""
    _note(path, _digest(path))


def seal_left(paths: Iterable[Path]) -> None:
    """Give those that a kill left without a checksum one. They are whole: a file has its name at the end."""
    for path in paths:
        if path.exists() and not checksum_file(path).exists():
            seal(path)


def _note(path: Path, digest: str) -> None:
    status = path.stat()
    comment = f"# {status.st_size} bytes, written at {status.st_mtime_ns} ns"
    write_text(checksum_file(path), f"{comment}\n{digest}  {path.name}\n")


def seal_folder(folder: Path) -> None:
    """Give a folder a list of checksums of all its files, as one file: LIST, for `sha256sum -c`."""
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = [f"{_digest(folder / name)}  {name}\n" for name in names if name != LIST]
    write_text(folder / LIST, "".join(lines))


def faults(folder: Path) -> dict[Path, str]:
    """What is wrong with the files of a folder, by path; nothing where it has no list of checksums."""
    listing = folder / LIST
    if not listing.exists():
        return {}
    lines = listing.read_bytes().decode("utf-8", "replace").splitlines()
    entries = [_ENTRY.fullmatch(line) for line in lines]
    if not entries or not all(entries):
        return {listing: "is damaged"}
    found = {}
    for entry in filter(None, entries):
        path = folder / entry["name"]
        try:
            if _digest(path) != entry["digest"]:
                found[path] = _OTHER
        except FileNotFoundError:
            found[path] = "is missing"
        except OSError as error:
            found[path] = f"can't be read ({error.strerror})"
    return found


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def move(source: Path, target: Path) -> None:
    """Give a file another name, and its checksum with it."""
    kept = _FORM.fullmatch(checksum_file(source).read_text()) if checksum_file(source).exists() else None
    checksum_file(target).unlink(missing_ok=True)
    os.replace(source, target)
    checksum_file(source).unlink(missing_ok=True)
    if kept:
        _note(target, kept["digest"])


def remove(path: Path) -> None:
    """Remove a file, where it is there, and its checksum."""
    path.unlink(missing_ok=True)
    checksum_file(path).unlink(missing_ok=True)


def fault(path: Path, whole: bool = True) -> str | None:
    """What is wrong with a file; None where nothing is, or where it has no checksum.

    whole: its content is compared; else only where its size or time are not those that were written
    """
    try:
        status, beside = path.stat(), checksum_file(path).read_bytes()
    except FileNotFoundError:
        return None if path.exists() else "is missing"
    except OSError as error:
        return f"can't be read ({error.strerror})"
    kept = _FORM.fullmatch(beside.decode("utf-8", "replace"))
    if kept is None:
        return f"has a damaged checksum ({checksum_file(path).name})"
    if status.st_size != int(kept["size"]):
        return f"has {status.st_size} bytes instead of {kept['size']}"
    if not whole and status.st_mtime_ns == int(kept["time"]):
        return None
    try:
        same = _digest(path) == kept["digest"]
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if same else _OTHER


def verify(path: Path, remedy: str = "delete it and start its run again") -> None:
    """Raise DamagedFile where a file has a checksum and another content. remedy: what to do then."""
    if path.exists() and (text := fault(path)):
        raise DamagedFile(f"{path}: damaged: {text}; {remedy} (`wsis verify` names the command)")


def recorded(path: Path) -> str | None:
    """16 hex digits of the content that was written (`wsis.files.digest`); None where no checksum says."""
    try:
        kept = _FORM.fullmatch(checksum_file(path).read_text())
    except (OSError, ValueError):
        return None
    return kept["digest"][:16] if kept else None


class _Summing(io.BufferedIOBase):
    """A file to write to that sums what passes.

    failed: what went wrong in writing, which torch.save tells as an error of its own
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sum = file, hashlib.sha256()
        self.failed: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sum.update(data)
        try:
            return self.file.write(data)
        except OSError as error:
            self.failed = error
            raise
