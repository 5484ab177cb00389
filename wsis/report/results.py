"""The files of a scale's results folder, of which any may be missing, and which of them are stale."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wsis.declare.stored import difference
from wsis.errors import WsisError
from wsis.finished import METRICS, metrics_of
from wsis.measures.file import Measurements
from wsis.measures.measure import MeasureSet
from wsis.plan import Plan
from wsis.provenance import code_hash, hash_of
from wsis.records import read_record, sound


class Results:
    """The files of a scale's results folder, each read once. Dictionaries hold what exists, by run id.

    differing: run id -> how its settings differ from the plan's. The files of these runs are not read: their
    numbers are no results of the plan.
    refused: run id -> which of its files is damaged, another run's or out of range. Its numbers are left out,
    unless it is environment.json, which is left out alone (`odd`).
    """

    def __init__(self, plan: Plan, results: Path):
        self.plan = plan
        self.root = results / plan.scale.name
        self.differing = self._differing()
        self.refused: dict[str, str] = {}
        self.odd: dict[str, str] = {}
        self.metrics = self._files(METRICS, self.refused)
        self.train = self._files("train.json", self.refused)
        self.environment = self._files("environment.json", self.odd)
        for run in self.refused:
            for files in (self.metrics, self.train, self.environment):
                files.pop(run, None)
        self.measurements = Measurements(self.root)
        self._code: dict[str, str | None] = {}
        self._measuring_code: dict[str, str] = {}

    def _differing(self) -> dict[str, str]:
        runs = self.plan.runs.items()
        texts = {id: difference(self.root / "runs" / id, run.recipe) for id, run in runs}
        return {run: text for run, text in texts.items() if text}

    def classes(self, run: str) -> list[str]:
        """Names of the classes that a finished run predicts; an empty list without a whole model.json."""
        path = self.root / "runs" / run / "model.json"
        return [each["name"] for each in read_record(path)["categories"]] if sound(path) else []

    def _files(self, name: str, faults: dict[str, str]) -> dict[str, dict[str, Any]]:
        """The runs' files of a name; what is wrong with others is added to `faults`."""
        contents = {}
        for run in self.plan.runs:
            folder = self.root / "runs" / run
            if run in self.differing or not (folder / name).exists():
                continue
            try:
                contents[run] = metrics_of(folder) if name == METRICS else read_record(folder / name, run)
            except WsisError as error:
                faults.setdefault(run, str(error))
        return contents

    def stale(self, run: str) -> bool:
        """True if retraining this run or an ancestor could change its result.

        Its code or its settings have changed since, or the run that it starts from was trained again.
        """
        planned = self.plan.runs.get(run)
        if planned is None:
            return False
        if run in self.differing:
            return True
        train = self.train.get(run, {})
        code = train.get("code")
        if code is not None and code != self._code_now(planned.recipe.method):
            return True
        began = [(train.get(key) or {}).get("weights") for key in ("parent", "proxy")]
        origins = [planned.parent, planned.recipe.proxy.parent if planned.recipe.proxy else None]
        return any(
            self._other_weights(origin, weights) or self.stale(origin)
            for origin, weights in zip(origins, began, strict=True)
            if origin
        )

    def stale_measure(self, its_set: MeasureSet, key: str) -> bool:
        """True if measuring a key of a set again could change its numbers, or if the file names no code."""
        content = self.measurements.content(its_set.name, key)
        if its_set.name not in self._measuring_code:
            self._measuring_code[its_set.name] = hash_of(its_set.modules)
        if content.get("code") != self._measuring_code[its_set.name]:
            return True
        return its_set.needs == "run" and (
            self._other_weights(key, content.get("weights")) or self.stale(key)
        )

    def _other_weights(self, run: str, weights: str | None) -> bool:
        """True if the run's weights now differ from these; False if that is unknown."""
        now = self.train.get(run, {}).get("weights")
        return None not in (weights, now) and weights != now

    def inherited(self, run: str) -> list[str]:
        """Deviations that the trainings which this run starts from have noted."""
        texts: dict[str, None] = {}
        todo = list(self.plan.runs[run].needs) if run in self.plan.runs else []
        while todo:
            origin = todo.pop(0)
            texts |= dict.fromkeys(self.train.get(origin, {}).get("deviations", ()))
            todo += self.plan.runs[origin].needs if origin in self.plan.runs else ()
        return list(texts)

    def _code_now(self, method: str) -> str | None:
        if method not in self._code:
            try:
                self._code[method] = code_hash(method)
            except WsisError:  # the method's sources are gone, so its numbers are old
                self._code[method] = None
        return self._code[method]

    def command(self, table: str) -> str:
        """The command that fills this table, with the time it takes; only missing runs are trained."""
        wanted: set[str] = set()
        todo = self.plan.wanted([table])
        while todo:
            run = self.plan.runs.get(todo.pop())
            if run is not None and run.id not in wanted and run.id not in self.metrics:
                wanted.add(run.id)
                todo += run.needs
        hours = sum(self.plan.runs[run].device_hours for run in wanted)
        time = f"{hours:.1f} h" if hours >= 0.1 else f"{max(1, round(hours * 60))} min"
        return f"{workflow(self.plan, table.replace('/', '_'))} (~{time} on {self.plan.scale.cost.device})"

    def missing(self, table: str, runs: Iterable[str]) -> str:
        """Why a cell of these runs is empty, and the command that fills it."""
        faults = self.differing | self.refused
        texts = dict.fromkeys(faults[run] for run in runs if run in faults)
        return "; ".join([*texts, f"not run: {self.command(table)}"])


def workflow(plan: Plan, target: str) -> str:
    """The command that makes a target of the workflow at this plan's scale and seeds."""
    config = [f"scale={plan.scale.name}"]
    if plan.asked:
        config.append(f"seeds=[{','.join(map(str, plan.seeds))}]")
    if plan.scale.data == "root":
        config.append("data_root=PATH")
    if plan.overrides:
        config.append(shlex.quote(f"set={json.dumps(plan.overrides)}"))
    return f"snakemake {target} --cores all --config {' '.join(config)}"
