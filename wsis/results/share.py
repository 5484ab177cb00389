"""`wsis share`: a scale's results as one archive that another machine reads as runs (`wsis.results.merge`).

A gzipped tar, the same bytes for the same files. manifest.json comes first:

{"format", "wsis": version, "scale", "files": {name: {"bytes", "sha256"}}}

A name is a path as it is under the folder that was shared: results/<scale>/runs/<id>/..., results/<scale>/
measures/<set>/<key>.json, reports/<scale>/...
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from wsis import __version__
from wsis.declare.stored import MODEL
from wsis.errors import WsisError
from wsis.files import atomic
from wsis.finished import PREDICTIONS
from wsis.measures.file import PATTERN
from wsis.results.runs import stored_runs

FORMAT = 1
MANIFEST = "manifest.json"
# What is told of a run. Locks, checkpoints and proxy masks stay on the machine.
TOLD = (
    "recipe.json",
    "log.jsonl",
    "environment.json",
    "model.json",
    "train.json",
    "README.md",
    "metrics.json",
)
PICTURES = ("pictures/*.json", "pictures/*.png", "pictures/*.jpg")
CACHE = "drawn"  # of the report


@dataclass(frozen=True)
class Shared:
    """What an archive holds: its size in bytes, and how many runs, measurements and files of the report."""

    path: Path
    size: int
    runs: int
    measures: int
    pages: int

    def __str__(self) -> str:
        report = f"a report of {self.pages} files" if self.pages else "no report (`wsis report` writes one)"
        size = f"{self.size / 1e6:.1f} MB"
        return f"{self.path}: {self.runs} runs, {self.measures} measurements, {report}, {size}"


def share(
    scale: str, results: Path, reports: Path, out: Path, weights: bool = False, predictions: bool = False
) -> Shared:
    """Pack the finished runs, the measurements and the report of a scale into `out`.

    weights, predictions: also the runs' networks, and their predictions, from which a report draws masks.
    Raises WsisError where no run is finished, and for a file that can't be read or written.
    """
    more = (MODEL,) * weights + (PREDICTIONS,) * predictions
    runs = [run.folder for run in stored_runs(results, scale) if (run.folder / "train.json").exists()]
    if not runs:
        raise WsisError(f"{results / scale}: no run is finished, so there is nothing to share")
    told = [path for folder in runs for path in _files_of(folder, more)]
    measures = sorted((results / scale).glob(PATTERN))
    pages = [path for path in sorted((reports / scale).rglob("*")) if _is_page(path, reports / scale)]
    named = {f"results/{path.relative_to(results).as_posix()}": path for path in (*told, *measures)}
    named |= {f"reports/{path.relative_to(reports).as_posix()}": path for path in pages}
    try:
        with atomic(out) as file:
            _write(file, scale, named)
    except OSError as error:
        raise WsisError(f"{out}: can't be written: {error}") from None
    return Shared(out, out.stat().st_size, len(runs), len(measures), len(pages))


def _files_of(folder: Path, more: tuple[str, ...]) -> Iterator[Path]:
    """The files of a run that are shared, as far as they exist."""
    yield from (path for name in (*TOLD, *more) if (path := folder / name).is_file())
    yield from sorted(path for pattern in PICTURES for path in folder.glob(pattern))


def _is_page(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return path.is_file() and parts[0] != CACHE and not any(part.startswith(".") for part in parts)


def _write(file: BinaryIO, scale: str, named: dict[str, Path]) -> None:
    """The archive of files by name; nothing else of this machine, such as owners and times, is in it."""
    entries: dict[str, Any] = {}
    for name, path in named.items():
        with path.open("rb") as content:
            entries[name] = {
                "bytes": path.stat().st_size,
                "sha256": hashlib.file_digest(content, "sha256").hexdigest(),
            }
    manifest = {"format": FORMAT, "wsis": __version__, "scale": scale, "files": entries}
    head = (json.dumps(manifest, indent=1) + "\n").encode()
    with (
        gzip.GzipFile("", "wb", 6, file, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        archive.addfile(_entry(MANIFEST, len(head)), io.BytesIO(head))
        for name, path in named.items():
            with path.open("rb") as content:
                archive.addfile(_entry(name, entries[name]["bytes"]), content)


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o644
    return entry
