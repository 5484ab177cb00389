"""The one reader of JSON and the one writer of files: a file is the old one or the whole new one."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

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


def read_json(path: Path) -> Any:
    """The file's content. Raises WsisError naming the file when it is absent or not JSON."""
    try:
        with uncollected():
            return json.loads(Path(path).read_bytes())
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise WsisError(f"{path}: can't be read as JSON: {error}") from None


def read_keys(path: Path, *keys: str) -> dict[str, Any]:
    """The object in a JSON file. Raises WsisError as `read_json`, and where it is none or lacks a key."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise WsisError(f"{path}: expected an object, got {type(content).__name__}")
    if missing := [key for key in keys if content.get(key) is None]:
        raise WsisError(f"{path}: '{missing[0]}' is missing")
    return content


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


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write to, which becomes `path` when the block ends, and vanishes when it fails.

    Folders above `path` are made. Its temporary name, .<name>.<process>.tmp, belongs to this process alone.
    The content is on the disk before the file has its name. Raises WsisError when it can't be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WsisError(f"{path}: can't be written: {error}") from None
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
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")
