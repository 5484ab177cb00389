"""Measures of ours: names, what they are, and values from results/<scale>/pseudo/<warm-up run>.json."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from wsis.declare.table import MEASURES
from wsis.errors import WsisError
from wsis.evaluation.files import read_json
from wsis.probe.pseudo_job import BATCHES

GROUP = "ours"  # the header over the measures in every format
NO_MASKS = "no pseudo masks"  # why a row that makes none has no value
NO_WARMUP = "no common warm-up to measure at"  # why one has none that continues no other training
NOTE = (
    "Measures of ours, not the paper's: SIM's maps and labels inside the boxes of images that no training "
    "has seen, with the warm-up checkpoint and without further training; per cent (see README.md). M_S: "
    "semantic map (Eq. 1); M_I: instance map (Eq. 6); pseudo masks: both, as in Eq. 7. AUC: area under the "
    "ROC curve of a map's pixels, which no threshold decides. Labelled: share of the pixels beyond the "
    "thresholds; right: share of those. Overlapping: objects whose box overlaps one of their own class."
)
_MAPS = {"semantic": "M_S", "instance": "M_I", "pseudo": "pseudo masks"}
_KINDS = {
    "IoU": "IoU at 0.5", "best": "IoU at the best threshold", "AUC": "AUC", "cover": "labelled",
    "acc": "labels that are right",
}  # fmt: skip


def is_measure(metric: str) -> bool:
    """Is `metric` a measure of ours, not a column of a paper?"""
    return metric in MEASURES


def readable(metric: str) -> str:
    """A measure in words, 'pseudo masks: IoU at 0.5, overlapping'; any other metric as it is."""
    if not is_measure(metric):
        return metric
    name, kind, *overlap = metric.split("_")
    return f"{_MAPS[name]}: {_KINDS[kind]}" + (", overlapping" if overlap else "")


class PseudoMasks:
    """The measured pseudo masks of a scale, each file read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, dict[str, Any]] = {}

    def value(self, parent: str, run: str, metric: str) -> float | None:
        """A measure of `run`'s settings with the checkpoint of `parent`; None where it is not measured.

        NaN where it is undefined, as the accuracy of no labels. Raises WsisError for a file of another form.
        """
        name, kind, *overlap = metric.split("_")
        try:
            content = self.content(parent)
            maps = content["runs"].get(run) if content else None
            if maps is None:
                return None
            value = maps[name]["overlap" if overlap else "all"][kind]
            return math.nan if value is None else float(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise WsisError(f"{self._path(parent)}: {run}: no {metric}: {error!r}") from None

    def problem(self, parent: str, data: dict[str, Any] | None) -> str | None:
        """Why what was measured with `parent`'s checkpoint is not the measure that tables show, else None.

        data: what the parent's train.json says of the data that it was trained on; None where unknown.
        """
        content = self.content(parent)
        batches, used = content.get("batches"), content.get("data") or {}
        if batches != BATCHES:
            number = "an unknown number of" if batches is None else batches
            return f"prototypes estimated from {number} batches instead of {BATCHES}"
        if data is not None and used.get("fingerprint") != data["fingerprint"]:
            return (
                f"measured on {used.get('root_name', 'unknown data')} ({used.get('fingerprint')}), the "
                f"warm-up was trained on {data['root_name']} ({data['fingerprint']})"
            )
        return None

    def content(self, parent: str) -> dict[str, Any]:
        """The whole file of a warm-up; empty where there is none."""
        if parent not in self._files:
            path = self._path(parent)
            self._files[parent] = read_json(path) if path.exists() else {}
        return self._files[parent]

    def _path(self, parent: str) -> Path:
        return self.folder / f"{parent}.json"
