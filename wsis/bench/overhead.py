"""The harness's own cost: the workflow's wall time x cores over the seconds spent in training loops.

`record` appends a line to results/<scale>/workflow.jsonl at the end of each run of the workflow:
{"start", "end": Unix seconds, "cores": of this machine, null on a cluster, "finished": whether every job
succeeded}. A ratio of 1.0 would mean that every core trained all the time; start-up, data, prediction,
evaluation and the report are the rest.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsis.declare.stored import weights_file
from wsis.errors import WsisError
from wsis.files import read_lines
from wsis.records import read_record, sound

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Overhead:
    """One run of the workflow: when, on how many cores, and what was trained meanwhile."""

    scale: str
    start: float
    end: float
    cores: int | None  # of this machine; None where a cluster ran the jobs
    finished: bool
    runs: int
    training: float  # seconds, summed over runs

    @property
    def wall(self) -> float:
        return self.end - self.start

    @property
    def ratio(self) -> float | None:
        """Core-seconds per second of training; None when nothing was trained, or not on this machine."""
        return self.wall * self.cores / self.training if self.training and self.cores else None


def record(results: str | Path, start: float, cores: int | None, finished: bool) -> None:
    """Append this run of the workflow, which began at `start`, to <results>/workflow.jsonl."""
    path = Path(results) / "workflow.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    line = {"start": start, "end": time.time(), "cores": cores, "finished": finished}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def overhead(results: Path) -> list[Overhead]:
    """The recorded runs of the workflow under `results`, all scales, that trained something, oldest first.

    A training belongs to the workflow run in which its weights were written. Raises WsisError when the
    workflow has never ended here.
    """
    logs = sorted(results.glob("*/workflow.jsonl"))
    if not logs:
        raise WsisError(f"no {results}/<scale>/workflow.jsonl; the workflow writes it: snakemake --cores 2")
    entries = [entry for log in logs for entry in _entries(log) if entry.runs]
    return sorted(entries, key=lambda entry: entry.start)


def _entries(log: Path) -> list[Overhead]:
    trained = [
        (weights.stat().st_mtime, read_record(file)["seconds"])
        for file in sorted(log.parent.glob("runs/*/train.json"))
        if sound(file) and (weights := weights_file(file.parent)).exists()
    ]
    entries = []
    for fields in read_lines(log):
        seconds = [s for when, s in trained if fields["start"] <= when <= fields["end"]]
        entries.append(Overhead(log.parent.name, **fields, runs=len(seconds), training=sum(seconds)))
    return entries


def show(entries: list[Overhead], console: Console) -> None:
    """Print one line a workflow run: wall time, cores, training seconds and their ratio."""
    from rich.table import Table

    table = Table(title="Harness overhead: wall time x cores / training seconds (1.0 is none)")
    for column in ("scale", "started", "wall s", "cores", "runs trained", "training s", "overhead"):
        table.add_column(column, justify="left" if column in ("scale", "started") else "right")
    for entry in entries:
        started = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.start))
        ratio = "-" if entry.ratio is None else f"{entry.ratio:.2f}"
        started += "" if entry.finished else " (failed)"
        numbers = (f"{entry.wall:.0f}", str(entry.cores or "-"), str(entry.runs), f"{entry.training:.0f}")
        table.add_row(entry.scale, started, *numbers, ratio)
    console.print(table)
    if not entries:
        console.print("No run of the workflow has trained anything yet.")
