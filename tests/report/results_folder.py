"""A small plan and a results folder of which half is missing; every number is invented here.

boxinst/1a: rows low, middle (finished), high (planned, never run), sim (its method is missing), others
(quoted), over columns that metrics.json has, leaves undefined or lacks. boxinst/2: r1 to r4, finished.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Cost, Scale
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.declare.table import Table
from wsis.plan import Plan, Run

SEEDS = (3, 5, 8)
LEVEL = {"low": 20.0, "middle": 18.0, "r1": 10.0, "r2": 21.0, "r3": 20.0, "r4": 40.0}
TAU = {"low": 0.0, "middle": 0.1, "high": 0.2, "r1": 0.5, "r2": 0.6, "r3": 0.7, "r4": 0.8}
AFFINITY = {
    "code": "now",
    "values": {"0": {"prop": 94.1}, "0.1": {"prop": 98.3}},
    "curves": [
        {"label": "prop, in the box", "metric": "prop", "points": [[0.0, 94.1], [0.1, 98.3]]},
        {"label": "kept, in the box", "metric": "kept", "points": [[0.0, 100.0], [0.1, 80.0], [0.3, 0.0]]},
    ],
}
CLAIM = {"text": "t", "section": "3", "metric": "AP"}


def measured(label: str, seed: int) -> float:
    """The AP of a row at a seed: large steps between seeds, small noise on top."""
    return LEVEL[label] + 3.0 * seed + 0.01 * ((seed * 7 + len(label)) % 5)


def make_plan(seeds: tuple[int, ...] = SEEDS) -> Plan:
    scale = Scale(
        name="tiny",
        title="t",
        seeds=SEEDS,
        cost=Cost(device="a device", seconds_per_image={}, megabytes={}, source="s"),
        data="generated",
    )
    plan = Plan(scale, seeds, {table.key: table for table in (_first(), _second())})
    for table in plan.tables.values():
        for row in table.rows:
            cell = (table.key, row.label)
            if row.label == "sim" or row.quote:
                plan._reasons[cell] = "quoted" if row.quote else "method sim does not exist yet"
                continue
            for seed in seeds:
                warmup = recipe({}, seed, 50)
                add_run(plan, cell, warmup, recipe({"tau": TAU[row.label]}, seed, 100, warmup.id))
    return plan


def add_run(plan: Plan, cell: tuple[str, str], *chain: Recipe) -> None:
    """Plan `chain`, parents first, an hour each; its last recipe serves the cell (table key, row label)."""
    for each in chain:
        published = each.model_copy(update={"schedule": ScheduleSpec(iterations=90000), "init": None})
        plan.runs.setdefault(each.id, Run(each.id, each, published, device_hours=1.0))
    plan.runs[chain[-1].id].rows.append(cell)
    plan._cells.setdefault(cell, {})[chain[-1].seed] = chain[-1].id


def make_results(plan: Plan, results: Path) -> None:
    """Write the files of the finished runs and a colour affinity without tau = 0.2."""
    runs = results / plan.scale.name / "runs"
    for run in plan.runs.values():
        labels = [label for _, label in run.rows]
        if labels == ["high"]:
            continue
        metrics = {"AP": measured(labels[0], run.seed), "APL": None} if labels else {"AP": 1.0}
        write(runs / run.id / "metrics.json", {"recipe": run.id, "protocol": "coco", "metrics": metrics})
        train = {"recipe": run.id, "seconds": 2.5, "code": "now", "deviations": [], "device_name": "a CPU"}
        write(runs / run.id / "train.json", train | {"data": {"root_name": "shapes-0", "fingerprint": "0f"}})
        environment = {"packages": {"torch": "2.7.1", "timm": None}, "python": "3.11.2", "commit": "abc"}
        write(runs / run.id / "environment.json", environment | {"device": "a CPU", "cores": 2})
    write(results / plan.scale.name / "measures/colour-affinity/coco.json", AFFINITY)


def _first() -> Table:
    columns = ["prop", "AP", "APL", "AP70"]
    rows = [
        {"label": "low", "values": [94.1, 20.3, 9.0, 9.0], "train": {}},
        {"label": "middle", "values": [98.3, 30, 9.0, 9.0], "train": {}, "split": "test-dev2017"},
        {"label": "high", "values": [98.4, 29.9, 9.0, 9.0], "train": {}},
        {"label": "sim", "values": [None, 31.1, 9.0, 9.0], "train": {}},
        {"label": "others", "values": [None, 25.5, None, None], "quote": "somebody"},
    ]
    claims = [
        {"id": "low-above-middle", "kind": "greater", "row": "low", "than": "middle"},
        {"id": "middle-above-low", "kind": "greater", "row": "middle", "than": "low"},
        {"id": "high-is-best", "kind": "best", "row": "high"},
        {"id": "prop-rises", "kind": "greater", "row": "middle", "than": "low", "metric": "prop"},
    ]
    return table("1a", columns, rows, claims)


def _second() -> Table:
    rows = [{"label": f"r{i}", "values": [10.0 * i], "train": {}} for i in (1, 2, 3, 4)]
    return table("2", ["AP"], rows, [{"id": "r4-best", "kind": "best", "row": "r4"}])


def table(number: str, columns: list[str], rows: list[dict[str, Any]], claims: list[dict[str, Any]]) -> Table:
    tree = {
        "paper": "boxinst", "table": number, "title": "t", "caption": "c", "section": "3",
        "dataset": "coco", "split": "val2017", "protocol": "coco", "base": "r50",
        "columns": columns, "header": columns, "rows": rows, "claims": [CLAIM | claim for claim in claims],
    }  # fmt: skip
    return parse(Table, tree, f"table {number}")


def recipe(
    pairwise: dict[str, Any],
    seed: int,
    iterations: int,
    parent: str | None = None,
    supervision: str = "boxes",
) -> Recipe:
    tree = {"method": "boxinst", "seed": seed, "loss": {"pairwise": pairwise}}
    tree |= {"data": {"supervision": supervision}, "schedule": {"iterations": iterations}}
    tree |= {"init": {"parent": parent} if parent else None}
    return parse(Recipe, tree, "recipe").settled()


def write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
