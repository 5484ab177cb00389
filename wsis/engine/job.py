"""What the processes of one run are told: the run, where its files lie, and how this machine executes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.data.salient import SalientRoot, open_salient
from wsis.declare.recipe import Recipe
from wsis.engine.train import TrainOptions


@dataclass(frozen=True)
class RunOptions:
    """How runs are executed on this machine.

    accelerator: None takes the graphics cards where there are any, else the CPU
    devices: None takes as many as the recipe wants and the machine has
    threads: of each process; None takes OMP_NUM_THREADS or torch's choice
    workers: processes that read images for a device; None: `wsis.engine.feed.readers`
    """

    accelerator: str | None = None
    devices: int | None = None
    threads: int | None = None
    workers: int | None = None
    train: TrainOptions = field(default_factory=TrainOptions)


@dataclass(frozen=True)
class Job:
    """One run with everything its processes need to know; picklable."""

    recipe: Recipe
    scale: str
    folder: Path
    root: Path
    parent: Path | None
    origin: Path | None  # folder of the run whose proxy masks it learns
    salient: Path | None  # root of salient images
    predicts: bool  # a table shows its predictions
    proxied: bool  # another run learns from its masks of the training objects
    deviations: tuple[str, ...]
    rows: tuple[tuple[str, str], ...]  # (table, row label) that it serves
    protocols: tuple[str, ...]  # of its evaluation
    accelerator: str
    devices: tuple[int, ...]
    options: RunOptions
    asked: Mapping[str, Any] = field(default_factory=dict)  # settings and roots that the user gave

    def open_salient(self) -> SalientRoot | None:
        """The salient images; the list of those with one object is kept under results/<scale>/data."""
        return None if self.salient is None else open_salient(self.salient, self.folder.parents[1] / "data")
