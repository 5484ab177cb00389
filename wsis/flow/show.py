"""The plan, the tables, a run and a diff for the terminal and, as JSON, for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table as Grid

from wsis.declare.resolve import GENERATED
from wsis.declare.table import Row, Table
from wsis.files import read_json
from wsis.flow.estimate import core_count, seconds_of, spoken
from wsis.flow.work import HEADLINE, targets, work
from wsis.packing import pack
from wsis.plan import Plan, Run
from wsis.report import deviations
from wsis.report.diff import compare, on_edge, read_reference


def tables_as_json(plan: Plan) -> list[dict[str, Any]]:
    """Tables in the papers' order.

    A row's `recipe` is its run here with the first seed, or else the paper's; null where it is quoted.
    """
    return [
        {
            "paper": table.paper,
            "table": table.table,
            "metrics": list(table.columns),
            "measures": list(table.measures),
            "rows": [_row_as_json(plan, table, row) for row in table.rows],
        }
        for table in plan.tables.values()
    ]


def _row_as_json(plan: Plan, table: Table, row: Row) -> dict[str, Any]:
    runs = plan.row_runs(table.key, row.label).values()
    recipe = next(iter(runs), None) or plan.recipe_id(table.key, row.label)
    words = {"label": row.label, "kind": row.kind, "ours": row.ours}
    return {**words, "recipe": recipe, "published": table.published(row)}


def plan_as_json(plan: Plan, tables: Sequence[str]) -> dict[str, Any]:
    """Runs, jobs and totals of tables (keys); what docs/formats.md documents as `wsis plan --json`."""
    ids = _needed(plan, tables)
    runs = [
        {
            "id": run.id,
            "method": run.recipe.method,
            "seed": run.seed,
            "parent": run.parent,
            "rows": [{"table": table, "row": label} for table, label in run.rows],
            "iterations": run.iterations,
            "device_hours": run.device_hours,
            "disk_gb": run.disk_gb,
            "deviations": list(run.deviations),
        }
        for run in (plan.runs[id] for id in ids)
    ]
    jobs = plan.jobs if len(ids) == len(plan.runs) else pack(plan, tables)
    return {
        "scale": plan.scale.name,
        "seeds": list(plan.seeds),
        "runs": runs,
        "jobs": [{"id": j.id, "runs": list(j.runs), "needs": list(j.needs)} for j in jobs],
        "absent": _absent(plan, tables),
        "deviations": deviations.as_json(plan, tables),
        "totals": _totals(plan, ids, tables),
        "assumptions": plan.scale.cost.model_dump(mode="json"),
    }


def _needed(plan: Plan, tables: Sequence[str]) -> list[str]:
    """Ids of what tables show and of all that it needs; every run for all tables."""
    return list(plan.runs if {*tables} == {*plan.tables} else plan.with_needed(plan.wanted(tables)))


def _absent(plan: Plan, tables: Sequence[str]) -> list[dict[str, str]]:
    """Trained rows that can't run at this scale, and why."""
    return [
        {"table": key, "row": row.label, "reason": reason}
        for key in tables
        for row in plan.tables[key].rows
        if (reason := plan.row_reason(key, row.label)) and reason not in ("quoted", GENERATED)
    ]


def _totals(plan: Plan, ids: Sequence[str], tables: Sequence[str]) -> dict[str, float]:
    """Of these runs; rows are those of the tables alone, not of others that share a run."""
    runs = [plan.runs[id] for id in ids]
    return {
        "runs": len(runs),
        "rows_served": len({cell for run in runs for cell in run.rows if cell[0] in tables}),
        "device_hours": sum(run.device_hours for run in runs),
        "disk_gb": sum(run.disk_gb for run in runs),
    }


def show_plan(plan: Plan, tables: Sequence[str]) -> None:
    """The runs of tables (keys), each paper's first seed; time by table, totals, and what can't run yet."""
    console, ids = Console(), _needed(plan, tables)
    grid = Grid("run", "parent", "iterations", "time", "rows served", title=f"scale {plan.scale.name}")
    first = {plan.seeds_of(plan.tables[key].paper)[0] for key in tables}
    for run in (plan.runs[id] for id in ids if plan.runs[id].seed in first):
        rows = [cell for cell in run.rows if cell[0] in tables] or run.rows
        words = ", ".join(f"{table} '{label}'" for table, label in rows) or "(warm-up)"
        grid.add_row(run.id, run.parent or "", str(run.iterations), spoken(run.device_hours * 3600), words)
    print_whole(grid, 0, 1)
    sums = Grid("table", "runs", "time", "rows not run", title="of all seeds, each table for itself")
    for key in tables:
        total, absent = _totals(plan, _needed(plan, [key]), [key]), len(_absent(plan, [key]))
        if total["runs"] or absent:
            sums.add_row(key, str(total["runs"]), spoken(total["device_hours"] * 3600), str(absent or ""))
    console.print(sums)
    totals, cost = _totals(plan, ids, tables), plan.scale.cost
    seeds = sorted({plan.runs[id].seed for id in ids})
    jobs = plan.jobs if len(ids) == len(plan.runs) else pack(plan, tables)
    console.print(
        f"seeds {', '.join(map(str, seeds))}: {totals['runs']} runs in {len(jobs)} jobs serve "
        f"{totals['rows_served']} rows; {spoken(totals['device_hours'] * 3600)} of {cost.device}, "
        f"{totals['disk_gb']:.3g} GB"
    )
    shown = {
        name for id in ids for name in (plan.runs[id].recipe.method, plan.runs[id].recipe.model.backbone)
    }
    every = cost.seconds_per_image or cost.step or {}
    counted = {kind: each for kind, each in every.items() if kind.partition("/")[0] in shown}
    what = "seconds" if cost.seconds_per_image else "units"
    console.print(
        f"assumed: {cost.device}, {what} a training image "
        f"{', '.join(f'{k} {v:g}' for k, v in counted.items())} ({cost.source})"
    )
    named = {", ".join(tables): tables}
    if {*tables} == {*plan.tables}:
        named = {HEADLINE: targets(plan)[HEADLINE], "all": tables}
    for line in estimates(plan, named):
        console.print(line)
    if plan.scale.data == "root":  # at others nothing is as in the papers
        print("deviations from the papers' trainings, known before anything runs:")
        for line in deviations.lines(plan, tables):
            print(f"  {line}")
    for reason, count in Counter(entry["reason"] for entry in _absent(plan, tables)).most_common():
        console.print(f"not run: {count} rows: {reason}", markup=False)


def print_whole(grid: Grid, *columns: int) -> None:
    """Print a grid whose `columns` (of ids) are not cut or broken, wider than the terminal if need be."""
    for index, column in enumerate(grid.columns):
        column.overflow, column.no_wrap = "fold", index in columns
    console = Console()
    least = Measurement.get(console, console.options.update(max_width=10_000), grid).minimum
    Console(width=max(console.width, least)).print(grid)


def estimates(plan: Plan, named: Mapping[str, Sequence[str]]) -> list[str]:
    """How long named tables take from the beginning on this machine; empty at scales for other machines."""
    if plan.scale.cost.step is None:
        return []
    cores = core_count()
    nominal = f", if a unit takes {plan.unit_seconds:g} s; to measure it: wsis bench calibrate"
    where = f"on this machine ({cores} cores){'' if plan.unit else nominal}"
    todo = {name: work(plan, tables, Path(), cores, anew=True) for name, tables in named.items()}
    return [f"{name}: about {spoken(seconds_of(plan, todo[name], cores))} {where}" for name in named]


def show_tables(plan: Plan) -> None:
    """One line a table."""
    grid = Grid("table", "rows", "trained", "claims", "title")
    for table in plan.tables.values():
        trained = sum(row.kind == "train" for row in table.rows)
        grid.add_row(table.key, str(len(table.rows)), str(trained), str(len(table.claims)), table.title)
    print_whole(grid, 0)


def show_table(plan: Plan, key: str) -> None:
    """A table as published, with each row's run or the reason why there is none."""
    table = plan.tables[key]
    grid = Grid("row", *table.header, "run", title=f"{key}: {table.title}", caption=table.caption)
    for row in table.rows:
        runs = plan.row_runs(key, row.label)
        where = "\n".join(runs.values()) or plan.row_reason(key, row.label) or ""
        label = f"{row.label} (ours)" if row.ours else row.label
        grid.add_row(label, *("" if v is None else f"{v:g}" for v in row.values), where)
    console = Console()
    print_whole(grid, len(grid.columns) - 1)
    if table.measures:
        console.print(f"with measures of ours: {', '.join(table.measures)}")
    for claim in table.claims:
        console.print(f"claim {claim.id} (Sec. {claim.section}, {claim.kind}): {claim.text}", markup=False)


def show_run(run: Run) -> None:
    """A run's whole recipe as JSON, the rows it serves and its deviations from the paper's recipe."""
    print(f"{run.id}, seed {run.seed}")
    print(json.dumps(run.recipe.model_dump(mode="json", exclude_none=True), indent=1))
    for table, label in run.rows:
        print(f"serves {table} '{label}'")
    for deviation in run.deviations:
        print(f"deviates: {deviation}")


def show_diff(diff: Path, reference: Path) -> list[str]:
    """Print measured beside published values, the claims' verdicts, and how the reference's differ.

    Returns a line for each verdict that differs and is on the edge in neither run.
    """
    tree = read_json(diff)
    console = Console()
    for table in tree["tables"]:
        rows = [(row, cell) for row in table["rows"] for cell in row["cells"].items() if cell[1]["n"]]
        if not rows:
            continue
        grid = Grid("row", "metric", "published", "measured", "std", "n", "difference")
        grid.title = f"{table['paper']}/{table['table']} at scale {tree['scale']}"
        for row, (metric, cell) in rows:
            numbers = (cell["published"], cell["mean"], cell["std"], cell["n"], cell["difference"])
            grid.add_row(row["label"], metric, *("" if v is None else f"{v:.4g}" for v in numbers))
        console.print(grid)
        for claim in table["claims"]:
            console.print(f"{claim['verdict']}: {claim['text']} [{claim['detail']}]", markup=False)
    console.print(", ".join(f"{count} {verdict}" for verdict, count in tree["claims"].items()))
    edge, judged = on_edge(tree)
    console.print(f"on the edge: {edge} of {judged} judged ({edge / max(judged, 1):.0%})")
    if not reference.exists():
        console.print(f"no reference at {reference}")
        return []
    failures, notes = compare(tree, read_reference(reference))
    for line in notes:
        console.print(f"note: {line}", markup=False)
    for line in failures:
        console.print(f"differs: {line}", markup=False)
    if not failures:
        console.print(f"every verdict of {reference} that is off the edge holds, or was not run")
    return failures
