"""The one reader of JSON and the one writer of files: a file is the old one or the whole new one."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from socket import gethostname
from typing import Any, BinaryIO

from wsis.disk import writing
from wsis.errors import WsisError, shortened


@contextmanager
def uncollected() -> Iterator[None]:
    """A block that makes many objects and no circles of them: Python's collector does not look at them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def read_json(path: Path, strict: bool = False) -> Any:
    """The file's content; strict: NaN and infinities, which JSON has not, are refused.

    Raises WsisError naming the file when it is absent or not JSON.
    """
    try:
        with uncollected():
            return json.loads(Path(path).read_bytes(), parse_constant=_refused if strict else None)
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WsisError(f"{path}: can't be read as JSON: {error}") from None


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON number")


def read_keys(path: Path, *keys: str) -> dict[str, Any]:
    """The object in a JSON file. Raises WsisError as `read_json`, and where it is none or lacks a key."""
    content = read_json(path, strict=True)
    if not isinstance(content, dict):
        raise WsisError(f"{path}: expected an object, got {type(content).__name__}")
    if missing := [key for key in keys if content.get(key) is None]:
        raise WsisError(f"{path}: '{missing[0]}' is missing")
    return content


def kept(path: Path, *keys: str) -> dict[str, Any]:
    """`read_keys` of what can be made again: empty where it is absent, or damaged; stderr is told of that."""
    try:
        return read_keys(path, *keys) if Path(path).exists() else {}
    except WsisError as error:
        print(f"{error}: left out", file=sys.stderr, flush=True)
        return {}


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a file of JSON lines. A last line cut short by a kill is left out.

    Raises WsisError naming the file, and the line for any other one that is no object.
    """
    try:
        lines = Path(path).read_bytes().splitlines()
    except OSError as error:
        raise WsisError(f"{path}: can't be read: {error.strerror}") from None
    for number, line in enumerate(lines, start=1):
        try:
            content = json.loads(line)
            if not isinstance(content, dict):
                raise ValueError("no object")
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise WsisError(f"{path}, line {number}: not a log line: {error}") from None
            return
        yield content


def checksum_file(path: Path) -> Path:
    """The file beside `path` that holds its checksum, where it has one (`wsis.checksums`)."""
    return path.with_name(f".{path.name}.sha256")


def of_user(path: str, said: str) -> Path:
    """The path that a user wrote, ~ as a home. Raises WsisError, which begins with `said`, for no path."""
    try:
        if not path or "\0" in path:
            raise ValueError("no path of a file system")
        expanded = Path(path).expanduser()
        expanded.exists()  # a name may be too long
        return expanded
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WsisError(f"{said}: {shortened(path)}: {reason}") from None


def digest(path: Path) -> str:
    """16 hex digits of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


_given = count()  # names of this process


def temporary_of(path: Path) -> Path:
    """.<name>.<machine>-<process>-<number>.tmp beside `path`: a name that nobody else gives."""
    return path.with_name(f".{path.name}.{gethostname()}-{os.getpid()}-{next(_given)}.tmp")


def remove_left(path: Path) -> None:
    """Remove what killed processes of this machine left of `path`, a file or a folder (`temporary_of`)."""
    begin = f".{path.name}.{gethostname()}-"
    with suppress(FileNotFoundError):
        for name in os.listdir(path.parent):
            if (
                name.startswith(begin)
                and name.endswith(".tmp")
                and not _lives(name[len(begin) :].partition("-")[0])
            ):
                left = path.with_name(name)
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def _lives(process: str) -> bool:
    """Whether there is a process of that number, or it is no number."""
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except (PermissionError, ValueError):
        return True
    return True


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes `path` when the block ends, and vanishes when it fails.

    Folders above `path` are made. Its temporary name belongs to this process alone; what killed processes
    left of the same file goes. The content is on the disk before the file has its name; a checksum of what it
    replaces goes. Raises WsisError when it can't be written.
    """
    path = Path(path)
    temporary = temporary_of(path)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_left(path)
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            checksum_file(path).unlink(missing_ok=True)
            os.replace(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    with atomic(path) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """In UTF-8, newlines as they are."""
    write_bytes(path, text.encode())


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON (a NaN is an error, not an extension), indented, with a final newline."""
    write_bytes(path, encoded(content))


def encoded(content: Any) -> bytes:
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
