"""The cells of measures: the numbers of a row, or why there are none."""

from __future__ import annotations

import json
import math
import shlex
from typing import TYPE_CHECKING

from wsis.declare.table import Row, Table
from wsis.measures.measure import Absent, MeasureSet, Place
from wsis.measures.registry import readable
from wsis.measures.wanted import of_set, rows_asked
from wsis.plan import Plan
from wsis.report.model import CellResult

if TYPE_CHECKING:
    from wsis.report.results import Results


def measure_cell(its_set: MeasureSet, table: Table, row: Row, metric: str, results: Results) -> CellResult:
    """A measure of a row: one value for each seed's run, or one under the first seed if it needs no run."""
    plan, of_runs = results.plan, its_set.needs == "run"
    asked = of_set(rows_asked(plan, table.key, row.label), its_set)
    answers = [its_set.place(each, metric) for each in asked]
    if absent := next((answer for answer in answers if isinstance(answer, Absent)), None):
        return CellResult(reason=absent.reason, meant=absent.meant)
    places = [answer for answer in answers if isinstance(answer, Place)]
    runs = plan.row_runs(table.key, row.label)
    seeds = sorted(runs) if of_runs else [min(runs, default=plan.seeds_of(table.paper)[0])]
    cell, problems = CellResult(runs={seed: runs[seed] for seed in seeds if seed in runs}), []
    for seed, place in zip(seeds, places, strict=True):
        value = results.measurements.value(its_set.name, place, metric)
        if value is None or place.key in results.differing:
            continue
        if of_runs and (wrong := _other_data(its_set, place.key, results)):
            problems.append(f"{wrong}; to measure again: {_command(plan, its_set, place.key)}")
        elif not math.isfinite(value):
            problems.append(f"{readable(metric)} is undefined on this data")
            cell.undefined = True
        else:
            cell.values[seed] = value
            cell.stale = cell.stale or results.stale_measure(its_set, place.key)
    cell.undefined = cell.undefined and not cell.values
    if not cell.values:
        missing = f"not run: {_command(plan, its_set, table.key)}"
        if of_runs:
            missing = results.missing(table.key, [*runs.values(), *(place.key for place in places)])
        cell.reason = problems[0] if problems else missing
    return cell


def _other_data(its_set: MeasureSet, run: str, results: Results) -> str | None:
    """A sentence if a run was measured on other data than it was trained on; None if not, or if unknown."""
    trained = results.train.get(run, {}).get("data")
    used = results.measurements.content(its_set.name, run).get("data") or {}
    if trained is None or used.get("fingerprint") == trained["fingerprint"]:
        return None
    return (
        f"measured on {used.get('root_name', 'unknown data')} ({used.get('fingerprint')}), but trained on "
        f"{trained['root_name']} ({trained['fingerprint']})"
    )


def _command(plan: Plan, its_set: MeasureSet, what: str) -> str:
    """The command line that measures a key, or all keys that a table shows."""
    words = ["wsis", "measure", its_set.name, what, "--scale", plan.scale.name]
    if plan.asked:
        words += ["--seeds", ",".join(map(str, plan.seeds))]
    if plan.scale.data == "root" and its_set.needs != "recipe":
        words += ["--data-root", "PATH"]
    for key, value in plan.overrides.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)
