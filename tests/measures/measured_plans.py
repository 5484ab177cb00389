"""Plans whose tables have measures, and results folders in which all was measured; numbers are invented.

One plan a method, `PLANS`: rows that differ in their settings, and rows that have no such measures.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.report.results_folder import SEEDS, add_run, table, write
from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Cost, Scale
from wsis.measures.file import path_of
from wsis.measures.measure import Asked
from wsis.measures.registry import sets
from wsis.measures.wanted import wanted
from wsis.plan import Plan
from wsis.report.build import build_report
from wsis.report.model import CellResult, Report

DATA = {"root_name": "shapes-0", "fingerprint": "0f"}
AP = {"baseline": 30.0, "weak": 32.0, "full": 31.0, "control": 40.0}  # measured; printed: 30, 31, 32, nothing
ALPHA = {"weak": 0.3, "full": 0.5, "control": 0.7}
RULES = {
    "raw": {"merge": False, "drop": None, "agreement": "exact"},
    "merge": {"drop": None, "agreement": "exact"},
    "merge, drop": {"drop": 0.9, "agreement": "exact"},
    "merge, drop as released": {"drop": 0.9, "agreement": "plus_one"},
}
MAPS = {"full": {}, "CFM": {"dma": False}, "gradient": {"boundary": "gradient"}, "none": {"boundary": "none"}}


def recipe(method: str, seed: int, **tree: Any) -> Recipe:
    return parse(Recipe, {"method": method, "seed": seed, **tree}, "recipe").settled()


def pseudo_plan(**data: Any) -> Plan:
    """A baseline of its own, and three rows of SIM that continue one warm-up a seed."""
    rows = [{"label": label, "values": [v]} for label, v in (("baseline", 30), ("weak", 31), ("full", 32))]
    claims = [
        {"id": "full-best", "kind": "best", "row": "full"},
        {"id": "weak-best", "kind": "best", "row": "weak"},
        {"id": "weak-best-of-all", "kind": "best", "row": "weak", "among": ["baseline", "full", "control"]},
        {"id": "masks", "kind": "greater", "row": "full", "than": "weak", "metric": "pseudo_IoU"},
        {"id": "maps", "kind": "greater", "row": "full", "metric": "pseudo_AUC",
         "than": {"row": "full", "metric": "semantic_AUC"}},
        {"id": "none", "kind": "greater", "row": "full", "than": "baseline", "metric": "pseudo_IoU"},
    ]  # fmt: skip
    measures = ("pseudo_IoU", "pseudo_AUC", "semantic_AUC", "pseudo_acc", "instance_AUC_overlap")
    plan = _plan("sim", "3", [*rows, {"label": "control", "ours": True}], claims, measures)
    for seed in SEEDS:
        add_run(plan, ("sim/3", "baseline"), recipe("boxinst", seed, schedule={"iterations": 100}))
        warmup = recipe("boxinst", seed, schedule={"iterations": 40}, data=data)
        init = {"parent": warmup.id, "iteration": 40}
        for label, alpha in ALPHA.items():
            row_run = recipe("sim", seed, sim={"alpha": alpha}, data=data, init=init)
            add_run(plan, ("sim/3", label), warmup, row_run)
    return plan


def proxy_plan() -> Plan:
    """Second stages on one first stage a seed, that itself, and a Mask R-CNN on true masks."""
    rows = [{"label": label, "values": [30.0]} for label in RULES]
    rows += [{"label": "network alone", "ours": True}, {"label": "true masks", "ours": True}]
    measures = tuple(measure.name for measure in sets()["proxy"].measures)
    plan = _plan("boxcaseg", "7", rows, [], measures)
    for seed in SEEDS:
        data = {"supervision": "boxes+salient"}
        first = recipe("boxcaseg", seed, boxcaseg={"proxy": False}, data=data)
        add_run(plan, ("boxcaseg/7", "network alone"), first)
        masks = recipe("mask_rcnn", seed, data={"supervision": "masks"})
        add_run(plan, ("boxcaseg/7", "true masks"), masks)
        for label, rules in RULES.items():
            proxy = {"parent": first.id, **rules}
            second = recipe("mask_rcnn", seed, data={"supervision": "proxy"}, proxy=proxy)
            add_run(plan, ("boxcaseg/7", label), first, second)
    return plan


def boundary_plan() -> Plan:
    """Rows of BAISeg's, one of which has no boundary map, and a Mask R-CNN on the masks of the first."""
    rows = [{"label": label, "values": [40.0]} for label in (*MAPS, "Mask R-CNN")]
    measures = tuple(measure.name for measure in sets()["boundary"].measures)
    plan = _plan("baiseg", "3", rows, [], measures)
    for seed in SEEDS:
        runs = {label: _semantic(seed, over) for label, over in MAPS.items()}
        for label, row_run in runs.items():
            add_run(plan, ("baiseg/3", label), row_run)
        proxy = {"parent": runs["full"].id}
        retrained = recipe("mask_rcnn", seed, data={"supervision": "proxy"}, proxy=proxy)
        add_run(plan, ("baiseg/3", "Mask R-CNN"), retrained)
    return plan


def _semantic(seed: int, over: dict[str, Any]) -> Recipe:
    model = {"backbone": "tiny-hrnet-w48", "neck": "none", "head": "baiseg"}
    return recipe("baiseg", seed, baiseg=over, model=model, data={"supervision": "semantic"})


def _plan(paper: str, number: str, rows: list[dict], claims: list[dict], measures: tuple[str, ...]) -> Plan:
    cost = Cost(device="a device", seconds_per_image={}, megabytes={}, source="s")
    scale = Scale(name="tiny", title="t", seeds=SEEDS, cost=cost, data="generated")
    declared = table(number, ["AP"], [row | {"train": {}} for row in rows], claims)
    declared = declared.model_copy(update={"paper": paper, "measures": measures})
    return Plan(scale, SEEDS, {declared.key: declared})


PLANS: dict[str, Callable[[], Plan]] = {
    "pseudo": pseudo_plan,
    "proxy": proxy_plan,
    "boundary": boundary_plan,
}


def value(asked: Asked, measure: str) -> float | None:
    """Steps between seeds, smaller ones between rows and measures; of labels none is known to be right."""
    if measure == "pseudo_acc":
        return None
    label, seed = asked.row.label, asked.run.seed
    base = {"pseudo_IoU": 60.0, "pseudo_AUC": 80.0, "semantic_AUC": 70.0}.get(measure, 50.0)
    return base + 3 * seed + 10 * ALPHA.get(label, 0.1 * len(label)) + 0.01 * ((seed * 7 + len(label)) % 3)


def write_runs(plan: Plan, results: Path) -> None:
    for run in plan.runs.values():
        labels = [label for _, label in run.rows]
        metrics = {"AP": AP.get(labels[0], 30.0) + 3.0 * run.seed} if labels else {"AP": 1.0}
        folder = results / "tiny/runs" / run.id
        write(folder / "metrics.json", {"recipe": run.id, "protocol": "coco", "metrics": metrics})
        train = {"recipe": run.id, "seconds": 1.0, "code": "now", "weights": "w", "deviations": []}
        write(folder / "train.json", train | {"data": DATA})


def write_measures(plan: Plan, results: Path) -> None:
    """All that the plan's tables show."""
    for name, keys in wanted(plan, plan.tables).items():
        measures = sets()[name].measures
        for key, cases in keys.items():
            values = {
                case: {measure.name: value(asked, measure.name) for measure in measures}
                for case, asked in cases.items()
            }
            content = {"set": name, "key": key, "code": "now", "weights": "w", "data": DATA, "values": values}
            write(path_of(results / "tiny", name, key), content)


def change(plan: Plan, results: Path, name: str, edit: Callable[[dict[str, Any]], Any]) -> list[Path]:
    """Let `edit` change every file of a set; returns the paths."""
    paths = sorted((results / "tiny/measures" / name).iterdir())
    for path in paths:
        content = json.loads(path.read_text())
        edit(content)
        write(path, content)
    return paths


def report_of(plan: Plan, results: Path) -> Report:
    return build_report(plan, results, figures={}, errata={})


def cells_of(plan: Plan, results: Path) -> dict[tuple[str, str], CellResult]:
    return report_of(plan, results).tables[0].cells
