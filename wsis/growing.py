"""A file of JSON lines that grows, with which a later process goes on where this one was stopped.

Its first line, the head, says what makes it. What a killed process leaves of the last line is cut off, and a
file with another head is begun anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from wsis.disk import writing


class Growing:
    """A file that `growing` has opened. lines: how many it held after its head."""

    def __init__(self, path: Path, file: BinaryIO, head: dict[str, Any]) -> None:
        self.path, self._file = path, file
        with writing(path):
            self.lines = self._resume(_line(head))

    def held(self) -> Iterator[dict[str, Any]]:
        """The content of those lines."""
        with open(self.path, "rb") as file:
            yield from map(json.loads, islice(file, 1, 1 + self.lines))

    def add(self, content: dict[str, Any]) -> None:
        """Write a line, whole for the next process, whatever ends this one."""
        line = _line(content)
        with writing(self.path):
            self._file.write(line)
            self._file.flush()

    def sync(self) -> None:
        """Have the disk hold what was written."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def _resume(self, head: bytes) -> int:
        """Cut the file after its last whole line, or empty it if its head is another; returns its lines."""
        self._file.seek(0)
        lines = end = 0
        for line in self._file:
            if not _whole(line) or (lines == 0 and line != head):
                break
            lines += 1
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if lines == 0:
            self._file.write(head)
            self._file.flush()
        return max(lines - 1, 0)


@contextmanager
def growing(path: Path, head: dict[str, Any]) -> Iterator[Growing]:
    """Open a file to go on with, or begin it. head: JSON content as it would be read again.

    Closing it writes what a full disk has refused, and may be refused again.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a+b")  # noqa: SIM115 (closed below)
    try:
        yield Growing(path, file, head)
    finally:
        with writing(path):
            file.close()


def _whole(line: bytes) -> bool:
    """Whether a line was written to its end; after a loss of power it may hold zeros."""
    try:
        return line.endswith(b"\n") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _line(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, separators=(",", ":")) + "\n").encode()
