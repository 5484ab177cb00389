"""A run's log in TensorBoard or as CSV, by Lightning Fabric's loggers: losses, metrics, sample masks.

They repeat what log.jsonl and metrics.json say, in <run>/tensorboard/ or <run>/csv/. A training that resumes
takes back what log.jsonl lost, so that no step is shown twice, and keeps the earlier pictures.
"""

from __future__ import annotations

import csv
import shutil
import warnings
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric.loggers import CSVLogger, TensorBoardLogger
from lightning_fabric.loggers import Logger as Written
from pycocotools import mask as rle

from wsis.configuration import LOGGERS
from wsis.data.roots import Root
from wsis.data.transforms import read_image
from wsis.errors import WsisError
from wsis.files import read_lines
from wsis.records import read_record

if TYPE_CHECKING:
    from wsis.methods.base import Method

EVERY = 10  # steps from one that is shown to the next
PICTURES, SCORE, MOST = 4, 0.3, 20  # images with masks, the score that these have, and how many an image


def check_logger(kind: str | None) -> None:
    """Raise WsisError for a logger that there isn't, or whose package isn't installed."""
    if kind not in (None, *LOGGERS):
        raise WsisError(f"no logger '{kind}' (there are: {', '.join(LOGGERS)})")
    if kind == "tensorboard" and not (find_spec("tensorboard") or find_spec("tensorboardX")):
        raise WsisError("logger tensorboard: install the package (pip install tensorboard), or take csv")


class Logger:
    """Writes one kind of log of a run's folder.

    log: log.jsonl of a training that begins or resumes: what it holds is shown, and nothing later. None: what
    there is stays, and more is added.
    """

    def __init__(self, kind: str, folder: Path, log: Path | None = None) -> None:
        self.folder = folder / kind
        lines = list(read_lines(log)) if log else []
        done = lines[-1]["iteration"] + 1 if lines else 0
        if log and not done:
            shutil.rmtree(self.folder, ignore_errors=True)
        table, more = self.folder / "metrics.csv", dict[str, Any]()
        if kind == "tensorboard" and done and self.folder.exists():
            more, lines = {"purge_step": done + 1}, []
        if log:
            table.unlink(missing_ok=True)
        for picture in self.folder.glob("masks/*.png") if log else ():
            if int(picture.stem.rpartition("-")[2]) > done:
                picture.unlink()
        former = list(csv.DictReader(table.open())) if table.exists() else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the folder is not empty: its rows are written again
            maker = TensorBoardLogger if kind == "tensorboard" else CSVLogger
            self.written: Written = maker(folder, name=kind, version="", **more)
            self.written.experiment  # noqa: B018 (opens it)
        for row in former:
            step = int(row.pop("step"))
            self.written.log_metrics({name: float(value) for name, value in row.items() if value}, step)
        for entry in lines:
            self.add(entry)

    def add(self, entry: Mapping[str, Any]) -> None:
        """A line of log.jsonl: a step's losses (of every tenth step), or the metrics of a validation."""
        done = entry["iteration"] + 1
        if "validation" in entry:
            self.metrics(entry["validation"], done, "validation")
        elif done % EVERY == 0 or done == 1:
            values = {f"loss/{name}": value for name, value in entry["losses"].items()}
            self.written.log_metrics({**values, "loss/total": entry["total"], "lr": entry["lr"]}, done)
        if "watched" in entry:
            self.metrics(entry["watched"], done, "watched")

    def metrics(self, values: Mapping[str, float | None], step: int, group: str) -> None:
        named = {f"{group}/{name}": value for name, value in values.items() if value is not None}
        self.written.log_metrics(named, step)

    def pictures(self, method: Method, root: Root, device: torch.device, step: int) -> None:
        """Predicted masks of the first evaluation images."""
        for name, picture in sample_masks(method, root, device):
            if isinstance(self.written, TensorBoardLogger):
                pixels = np.asarray(picture)
                self.written.experiment.add_image(f"masks/{name}", pixels, step, dataformats="HWC")
            else:
                target = self.folder / "masks" / f"{name}-{step}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                picture.save(target)

    def sync(self) -> None:
        """Bring everything onto the disk."""
        self.written.save()

    def close(self) -> None:
        self.written.finalize("success")


def sample_masks(method: Method, root: Root, device: torch.device) -> Iterable[tuple[str, Any]]:
    """(name, PIL image) of the first evaluation images with their best masks; leaves evaluation mode set."""
    from wsis.engine.predict import predicted
    from wsis.pictures.overlay import overlay  # imports matplotlib, which most trainings don't need

    samples = islice(method.samples(root), PICTURES)
    for picture, (_, found) in zip(root.eval, predicted(method, samples, device), strict=False):
        given = found.annotation_ids is not None
        kept = [i for i, score in enumerate(found.scores.tolist()) if given or score >= SCORE][:MOST]
        pixels = read_image(picture.path, picture.height, picture.width)
        masks = [rle.decode(found.masks[i]).astype(bool) for i in kept]
        stacked = np.stack(masks) if masks else np.zeros((0, *pixels.shape[:2]), bool)
        words = [f"{root.category_names[int(found.labels[i])]} {float(found.scores[i]):.2f}" for i in kept]
        yield picture.path.stem, overlay(pixels, stacked, found.boxes[kept].cpu().numpy(), words)


def log_evaluation(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Add the metrics of a metrics.json to the logs that a run has."""
    for kind in LOGGERS:
        if (folder / kind).is_dir():
            logger = Logger(kind, folder)
            step = read_record(folder / "train.json")["iterations"]
            for each in (metrics, *metrics.get("also", {}).values()):
                logger.metrics(each["metrics"], step, each["protocol"])
            logger.close()
