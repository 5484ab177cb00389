"""Whether a report shows everything there is, told without planning or reading any result."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsis.declare.load import ROOT
from wsis.files import read_json, write_json
from wsis.measures.file import PATTERN

OF_RUNS = ("metrics.json", "train.json", "pictures/pictures.json")


def signature(results: Path, options: object, declarations: Path = ROOT) -> str:
    """Digest of paths, sizes and times of all that a report on results/<scale> shows, and of its options."""
    files = [*results.glob(PATTERN)]
    for metrics in results.glob("runs/*/metrics.json"):  # a run that isn't evaluated isn't shown
        files += [path for name in OF_RUNS if (path := metrics.parent / name).exists()]
    files += declarations.rglob("*.yaml")
    stats = [(str(path), (found := path.stat()).st_size, found.st_mtime_ns) for path in sorted(files)]
    return hashlib.sha256(json.dumps([options, stats], default=str).encode()).hexdigest()


def shown(results: Path, page: Path, now: str) -> bool:
    """Whether `page` was written when the signature was `now`."""
    note = results / "rendered.json"
    return page.exists() and note.exists() and read_json(note) == now


def note_shown(results: Path, then: str) -> None:
    """Keep the signature of what was read for the report that is written now."""
    write_json(results / "rendered.json", then)


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """While entered, no other process writes a report on these results: it waits."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / ".report.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
