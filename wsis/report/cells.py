"""The cells of the papers' columns: the measured value of a row, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from wsis.declare.table import Row, Table
from wsis.measures.registry import set_of
from wsis.methods import info_of
from wsis.plan import Plan, protocol_of
from wsis.report.measure_cells import measure_cell
from wsis.report.model import CellResult
from wsis.report.results import Results

# Supervision -> the group of metrics.json (`groups`) whose classes have no masks.
UNSEEN = {"masks-voc": "nonvoc", "masks-nonvoc": "voc"}

UNDEFINED = "is undefined on this data"


def cell_of(table: Table, row: Row, metric: str, results: Results) -> CellResult:
    """The cell of a row under a metric, measure or cost of its table, without the published number."""
    plan = results.plan
    runs = plan.row_runs(table.key, row.label)
    if row.kind == "quote":
        return CellResult(reason="quoted")
    if (its_set := set_of(metric)) and (runs or its_set.needs == "recipe"):
        return measure_cell(its_set, table, row, metric, results)
    if not runs:
        return CellResult(reason=plan.row_reason(table.key, row.label) or "not part of this plan")
    protocol = protocol_of(metric, row.protocol or table.protocol)
    methods = {plan.runs[run].recipe.method for run in runs.values()}
    if protocol != "class-agnostic" and all(info_of(method).fills_boxes for method in methods):
        return CellResult(reason="no Mask R-CNN is trained in this row", meant=False)
    runs = {seed: plan.measured_by(run, metric) for seed, run in runs.items()}
    if metric == "drop_rate":
        return _drop_cell(table, runs, results)
    cell, problems = CellResult(runs=dict(runs)), []
    for seed, run in sorted(runs.items()):
        measured = results.metrics.get(run)
        if measured is None:
            continue
        measured = measured.get("also", {}).get(protocol, measured)
        value = _value(measured, metric, _unseen_group(table, plan))
        if measured["protocol"] != protocol:
            problems.append(f"measured under protocol {measured['protocol']}, published under {protocol}")
        elif value is None or not math.isfinite(value):
            absent = UNDEFINED if metric in measured["metrics"] else "is not measured"
            problems.append(f"{metric} {absent}")
        else:
            cell.values[seed] = float(value)
            continue
        cell.undefined = cell.undefined or problems[-1].endswith(UNDEFINED)
    return _finished(cell, table, results, problems)


def _drop_cell(table: Table, runs: dict[int, str], results: Results) -> CellResult:
    """Share of the proxy masks that a Mask R-CNN's training left out, from its train.json."""
    cell = CellResult(runs=dict(runs))
    for seed, run in sorted(runs.items()):
        proxies = results.train.get(run, {}).get("proxy")
        if proxies and proxies["drop_rate"] is not None:
            cell.values[seed] = float(proxies["drop_rate"])
    return _finished(cell, table, results)


def _finished(cell: CellResult, table: Table, results: Results, problems: Sequence[str] = ()) -> CellResult:
    """The cell with the reason why it is empty (the first problem, if any), or whether it is stale."""
    cell.undefined = cell.undefined and not cell.values
    if not cell.values:
        cell.reason = problems[0] if problems else results.missing(table.key, cell.runs.values())
    cell.stale = any(results.stale(cell.runs[seed]) for seed in cell.values)
    origins = [results.train.get(cell.runs[seed], {}).get("source") for seed in cell.values]
    cell.source = next(filter(None, origins), None)
    return cell


def _unseen_group(table: Table, plan: Plan) -> str | None:
    """The class group that this table calls unseen: its semi-supervised rows have boxes only of it."""
    ids = (run for row in table.rows for run in plan.row_runs(table.key, row.label).values())
    return next((UNSEEN[s] for run in ids if (s := plan.runs[run].recipe.data.supervision) in UNSEEN), None)


def _value(measured: dict[str, Any], metric: str, unseen: str | None) -> float | None:
    """A metric of a metrics.json; of the table's unseen group for a run that saw masks of all classes."""
    value = measured["metrics"].get(metric)
    if value is None and metric.endswith("_unseen"):
        return measured.get("groups", {}).get(unseen, {}).get(metric.removesuffix("_unseen"))
    return value
