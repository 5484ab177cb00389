"""`wsis runs`: the runs that exist, the rows that they serve, how far they are, their main metrics."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table as Grid

from wsis.alone import FIT
from wsis.declare.stored import difference
from wsis.errors import WsisError
from wsis.finished import RECORD, lacking, metrics_of
from wsis.flow.show import print_whole
from wsis.plan import Plan
from wsis.results.naming import by_id, is_row, row_of
from wsis.results.runs import StoredRun, groups, plan_of, stored_runs

MAIN = ("AP", "AP50", "mIoU", "IoU50")  # metrics that a line shows, as far as a run has them
LINE = 4000  # bytes within which a log's last line ends


def listed(words: Sequence[str], results: Path, scale: str | None) -> list[dict[str, Any]]:
    """What is to be said of the runs that words name (`wsis.results.naming`); of all where there are none."""
    lines = []
    for group in groups(stored_runs(results, scale)):
        try:
            plan = plan_of(group)
        except WsisError as error:
            print(f"{group[0].folder}: its settings are refused now: {error}", file=sys.stderr)
            continue
        named = {id for word in words for id in _ids(word, plan, group)}
        lines += [_line(run, plan) for run in group if run.id in named or not words]
    return lines


def _ids(word: str, plan: Plan, runs: Sequence[StoredRun]) -> list[str]:
    """The runs of one plan that a word names; [] where it names none of them."""
    if is_row(word, plan.tables):
        key, label, seed = row_of(plan.tables, word)
        cells = {(key, row) for row in plan.tables[key].labels if label in (None, row)}
        return [
            run.id
            for run in runs
            if seed in (None, run.seed) and run.id in plan.runs and {*plan.runs[run.id].rows} & cells
        ]
    id = by_id(Path(word).name, [run.id for run in runs])
    return [id] if id else []


def _line(run: StoredRun, plan: Plan) -> dict[str, Any]:
    planned = plan.runs.get(run.id)
    metrics = _metrics(run.folder)
    return {
        "id": run.id,
        "scale": run.scale,
        "seed": run.seed,
        "set": run.settings,
        "rows": [{"table": table, "row": label} for table, label in planned.rows] if planned else [],
        "data": next(iter((run.roots or {}).values()), None) if planned and run.scale == FIT else None,
        "state": _state(run, plan, bool(metrics)),
        "metrics": metrics,
        "folder": str(run.folder),
    }


def _state(run: StoredRun, plan: Plan, evaluated: bool) -> str:
    """'evaluated', 'trained', 'step 120 of 400' or 'begun'; after it what is wrong with it."""
    planned, trained = plan.runs.get(run.id), (run.folder / RECORD).exists()
    if trained:
        state = "evaluated" if evaluated else "trained"
    elif (step := last_step(run.folder / "log.jsonl")) is not None:
        state = f"step {step + 1} of {planned.recipe.schedule.end}" if planned else f"step {step + 1}"
    else:
        state = "begun"
    if planned is None:
        return f"{state}; of no row now"
    if trained:
        text = lacking(run.folder, planned.recipe, plan.predicts(run.id))
    else:
        text = difference(run.folder, planned.recipe)
    return f"{state}; {text}" if text else state


def _metrics(folder: Path) -> dict[str, float]:
    """The main metrics of a run, under whatever protocol; {} where there are none, or damaged ones."""
    try:
        content = metrics_of(folder)
    except WsisError:
        return {}
    under = [content, *content.get("also", {}).values()]
    values = {name: value for each in reversed(under) for name, value in each["metrics"].items()}
    return {name: values[name] for name in MAIN if values.get(name) is not None}


def last_step(log: Path) -> int | None:
    """The iteration of a log's last whole line, from 0."""
    if not log.exists():
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LINE))
        lines = file.read().splitlines()
    for line in reversed(lines):
        try:
            return json.loads(line)["iteration"]
        except (ValueError, KeyError, TypeError):
            continue
    return None


def show_runs(runs: Sequence[dict[str, Any]]) -> None:
    """A grid a scale; ids are whole."""
    if not runs:
        print("no runs here; `wsis plan` says what there is to run")
    for scale in dict.fromkeys(run["scale"] for run in runs):
        grid = Grid("run", "seed", "rows", "state", *MAIN, title=f"scale {scale}")
        for run in (run for run in runs if run["scale"] == scale):
            none = run["data"] or "(warm-up)"
            rows = [f"{row['table']}:{row['row']}" for row in run["rows"]] or [none]
            rows += [f"  {key}={json.dumps(value)}" for key, value in run["set"].items()]
            numbers = (f"{run['metrics'][name]:.1f}" if name in run["metrics"] else "" for name in MAIN)
            grid.add_row(run["id"], str(run["seed"]), escape("\n".join(rows)), run["state"], *numbers)
        print_whole(grid, 0)
