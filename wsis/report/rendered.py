"""Whether a report is whole and shows all results there are: told by files' times, without planning."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wsis.checksums import fault
from wsis.declare.load import ROOT
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.measures.file import PATTERN
from wsis.report.drawn import stamp

OF_RUNS = ("metrics.json", "train.json", "pictures/pictures.json")


def signature(results: Path, options: object, declarations: Path = ROOT) -> str:
    """Digest of paths, sizes and times of all that a report on results/<scale> shows, and of its options."""
    files = [*results.glob(PATTERN)]
    for metrics in results.glob("runs/*/metrics.json"):  # a run that isn't evaluated isn't shown
        files += [path for name in OF_RUNS if (path := metrics.parent / name).exists()]
    files += declarations.rglob("*.yaml")
    stamps = [stamp(path) for path in sorted(files)]
    return hashlib.sha256(json.dumps([options, stamps], default=str).encode()).hexdigest()


def whole(results: Path, page: Path) -> bool:
    """Whether the page is there to its end, and results/<scale>/metrics.csv as it was written with it."""
    with suppress(OSError), page.open("rb") as file:
        file.seek(max(0, page.stat().st_size - 20))
        return b"</html>" in file.read() and fault(results / "metrics.csv", whole=False) is None
    return False


def shown(results: Path, page: Path, now: str) -> bool:
    """Whether what is written was written when the signature was `now`, and is whole."""
    note = results / "rendered.json"
    with suppress(WsisError):
        return whole(results, page) and read_json(note) == now
    return False


def note_shown(results: Path, then: str) -> None:
    """Keep the signature of what was read for the report that is written now."""
    write_json(results / "rendered.json", then)


@contextmanager
def alone(results: Path) -> Iterator[None]:
    """A lock: another process that writes a report on these results waits until it is left."""
    results.mkdir(parents=True, exist_ok=True)
    with (results / ".report.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
