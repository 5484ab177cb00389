"""log.jsonl: a line a training step, written in blocks and cut back when a training resumes."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

from wsis.disk import writing
from wsis.engine.loggers import Logger
from wsis.files import checksum_file

BLOCK = 50  # lines kept in memory before they are written
TAIL = 20  # steps whose mean losses a run reports


class StepLog:
    """Appends {"iteration", "lr", "total", "losses": {name: float}, "seconds"} a step to `path`.

    Every hundredth also has "watched", what the method tells beside its losses: {name: float}.

    A validation after a step is a line of its own: {"iteration", "validation": {metric: float}, "seconds"}.

    `offset` is the length in bytes that belongs to the checkpoint resumed from; the rest of an existing
    file is from steps that will be done again, so it is cut off.
    logger: the kind of a `Logger` that shows the same
    """

    def __init__(self, path: Path, offset: int = 0, logger: str | None = None) -> None:
        self.path = path
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        length = path.stat().st_size if path.exists() else 0
        if length < offset:
            warnings.warn(
                f"{path}: shorter than its checkpoint says; earlier steps are missing", stacklevel=2
            )
            offset = length
        with writing(path):
            checksum_file(path).unlink(missing_ok=True)
            self.file = open(path, "r+b" if path.exists() else "w+b", buffering=0)  # noqa: SIM115 (closed by close)
            self.file.truncate(offset)
            self.file.seek(offset)
        self.lines: list[bytes] = []
        self.logger = Logger(logger, path.parent, path) if logger else None

    def add(self, entry: dict[str, Any]) -> None:
        if self.logger:
            self.logger.add(entry)
        self.lines.append(json.dumps(entry, separators=(",", ":")).encode() + b"\n")
        if len(self.lines) >= BLOCK:
            self.flush()

    def flush(self) -> None:
        content = memoryview(b"".join(self.lines))
        self.lines.clear()
        with writing(self.path):
            while content:
                content = content[self.file.write(content) :]

    def sync(self) -> int:
        """Bring everything onto the disk and return the file's length in bytes."""
        self.flush()
        with writing(self.path):
            os.fsync(self.file.fileno())
        if self.logger:
            self.logger.sync()
        return self.file.tell()

    def close(self) -> None:
        if self.logger:
            self.logger.close()
        self.flush()
        self.file.close()


def mean_losses(path: Path) -> dict[str, float]:
    """Mean of each loss over the file's last TAIL steps (of those steps that have it)."""
    with open(path, "rb") as file:
        file.seek(max(0, path.stat().st_size - 4000 * TAIL))
        lines = file.read().splitlines()[-TAIL:]
    values: dict[str, list[float]] = {}
    for line in lines:
        for name, value in json.loads(line).get("losses", {}).items():
            values.setdefault(name, []).append(value)
    return {name: sum(items) / len(items) for name, items in values.items()}
