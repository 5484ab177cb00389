"""What was run: the data behind a table's numbers, and the networks that stood in for the paper's."""

from __future__ import annotations

from typing import Any

from wsis.declare.recipe import Recipe
from wsis.declare.table import Table
from wsis.report.model import Ran
from wsis.report.results import Results

CLASSES = {"coco": 80, "voc": 20}  # of the published data sets; both have persons
SHOWN = 6  # classes named


def ran_on(table: Table, results: Results) -> Ran | None:
    """Of a table's rows; None where nothing of it was planned or trained."""
    plan, data, own = results.plan, dict[str, None](), False
    nets: dict[str, list[str]] = {}
    for row in table.rows:
        runs = plan.row_runs(table.key, row.label)
        for run in runs.values():
            planned = plan.runs[run]
            meant, there = planned.published.model.backbone, planned.recipe.model.backbone
            if meant != there:
                labels = nets.setdefault(f"{there} stood in for {meant}", [])
                labels += [] if row.label in labels else [row.label]
            if planned.recipe.data.dataset == "shapes":
                data |= {_drawn(planned.recipe): None}
            elif (trained := results.train.get(run, {}).get("data")) and (names := results.classes(run)):
                own = own or len(names) != CLASSES[planned.recipe.data.dataset] or "person" not in names
                data |= {_root(trained, names, planned.recipe): None}
    return Ran("; ".join(data), own, nets) if data else None


def _drawn(recipe: Recipe) -> str:
    shapes = recipe.data.shapes
    return (
        f"synthetic shapes: {shapes.train_images} training and {shapes.val_images} evaluation images of "
        f"{shapes.size} x {shapes.size} pixels"
    )


def _root(data: dict[str, Any], names: list[str], recipe: Recipe) -> str:
    """'street: 3 classes (car, bus, tram), 812 training and 90 evaluation images, split val2017'."""
    listed = ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
    counts = [
        f"{data[key]} {word}"
        for key, word in (("train_images", "training"), ("eval_images", "evaluation"))
        if data.get(key)
    ]
    images = f", {' and '.join(counts)} images" if counts else ""
    return f"{data['root_name']}: {len(names)} classes ({listed}){images}, split {recipe.data.eval}"
