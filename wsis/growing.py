"""A file of JSON lines that grows, with which a later process goes on where this one was stopped.

Its first line, the head, says what makes it. Each line begins with a checksum (8 hex digits, CRC-32) of its
content and of all before it. From the first line that is cut, changed or another file's, the file is cut off,
and one with another head is begun anew.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from wsis.disk import writing

PREFIX = 9  # bytes before a line's content


class Growing:
    """A file that `growing` has opened. lines: how many it held after its head."""

    def __init__(self, path: Path, file: BinaryIO, head: dict[str, Any]) -> None:
        self.path, self._file, self._sum = path, file, 0
        with writing(path):
            self.lines = self._resume(head)

    def held(self) -> Iterator[dict[str, Any]]:
        """The content of those lines."""
        with open(self.path, "rb") as file:
            for line in islice(file, 1, 1 + self.lines):
                yield json.loads(line[PREFIX:])

    def add(self, content: dict[str, Any]) -> None:
        """Write a line, whole for the next process, whatever ends this one."""
        body = _body(content)
        with writing(self.path):
            self._write(body)

    def sync(self) -> None:
        """Have the disk hold what was written."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def _write(self, body: bytes) -> None:
        self._sum = zlib.crc32(body, self._sum)
        self._file.write(_prefix(self._sum) + body)
        self._file.flush()

    def _resume(self, head: dict[str, Any]) -> int:
        """Cut the file after its last whole line, or empty it if its head is another; returns its lines."""
        self._file.seek(0)
        first, lines, end = _body(head), 0, 0
        for line in self._file:
            body = line[PREFIX:]
            total = zlib.crc32(body, self._sum)
            if not body.endswith(b"\n") or line[:PREFIX] != _prefix(total) or (lines == 0 and body != first):
                break
            self._sum = total
            lines += 1
            end += len(line)
        self._file.truncate(end)
        self._file.seek(end)
        if lines == 0:
            self._write(first)
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


def bodies(path: Path) -> Iterator[bytes]:
    """The lines of a finished file, head and all, without their checksums."""
    with open(path, "rb") as file:
        for line in file:
            yield line[PREFIX:]


def _body(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, separators=(",", ":")) + "\n").encode()


def _prefix(total: int) -> bytes:
    return f"{total:08x} ".encode()
