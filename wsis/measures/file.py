"""The one format of what was measured: results/<scale>/measures/<set>/<key>.json.

{"set", "key"       which measures, of what
 "code"             fingerprint of the code that measured
 "weights"          digest of the measured run's weights; null where no run was measured
 "data"             {"root_name", "fingerprint"} of the images; null where none were read
 "values"           {case: {measure: number, or null where it is undefined on this data}}
 "details"          numbers that no table shows
 "curves"           [{"label", "metric", "points": [[x, y], ...]}] of the figures that the set draws}
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wsis.errors import WsisError
from wsis.measures.measure import Measured, MeasureSet, Place, Subject
from wsis.provenance import hash_of
from wsis.records import MeasuredRecord, read_record, write_record

PATTERN = "measures/*/*.json"  # of all such files in results/<scale>


def path_of(base: Path, name: str, key: str) -> Path:
    """The file of the set `name` and a key; base: results/<scale>."""
    return base / "measures" / name / f"{key}.json"


def write_measured(its_set: MeasureSet, subject: Subject, measured: Measured) -> Path:
    """Write what was measured, with what it was measured on and by; returns the path."""
    path, root = path_of(subject.base, its_set.name, subject.key), subject.root
    content = {
        "set": its_set.name,
        "key": subject.key,
        "code": hash_of(its_set.modules),
        "weights": read_record(subject.folder / "train.json").get("weights") if subject.folder else None,
        "data": {"root_name": root.name, "fingerprint": root.fingerprint} if root else None,
        **asdict(measured),
    }
    write_record(path, content)
    return path


class Measurements:
    """What was measured at a scale; each file is read once."""

    def __init__(self, base: Path):
        self.base = base
        self.refused: dict[str, str] = {}  # <set>/<key> -> why a file is left out
        self._files: dict[tuple[str, str], dict[str, Any]] = {}

    def content(self, name: str, key: str) -> dict[str, Any]:
        """A whole file; empty where there is none, and where it is left out (`refused`)."""
        if (name, key) not in self._files:
            path = path_of(self.base, name, key)
            try:
                self._files[name, key] = read_record(path, form=MeasuredRecord) if path.exists() else {}
            except WsisError as error:
                self._files[name, key] = {}
                self.refused[f"{name}/{key}"] = str(error)
        return self._files[name, key]

    def value(self, name: str, place: Place, measure: str) -> float | None:
        """A measure; None where it is not measured yet, NaN where it is undefined."""
        values = self.content(name, place.key).get("values", {}).get(place.case, {})
        if measure not in values:
            return None
        return math.nan if values[measure] is None else float(values[measure])

    def lacks(self, its_set: MeasureSet, key: str, cases: Iterable[str]) -> bool:
        """True if the file is missing, or has not every measure of the set for each of the cases."""
        if not (content := self.content(its_set.name, key)):
            return True
        values = content["values"]
        return any(its_set.names - {*values.get(case, ())} for case in cases)
