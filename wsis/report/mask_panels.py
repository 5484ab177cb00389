"""Which masks stand below a table and on a paper's card, and the panels that a reference keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from wsis.declare.load import load_papers
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.records import read_record
from wsis.report.drawn import Drawings, Panel, Strip, draw, stamp
from wsis.report.model import Report, TableResult
from wsis.report.view import RowView, TableView, table_view

FACE_QUALITY = 68  # of the pictures that a reference keeps


def panel_of(
    result: TableResult,
    view: TableView,
    results: Path,
    roots: Mapping[str, Path],
    quality: int,
    drawings: Drawings,
) -> tuple[Panel | None, int | None]:
    """The table's panel, of the lowest seed that any of its rows has, and that seed.

    Rows evaluated on another root than the first are left out: their images are not the same.
    """
    by_seed: dict[int, list[tuple[str, str]]] = {}
    for row in view.trained:
        for seed, run in seed_runs(result, row).items():
            if run in roots and (results / "runs" / run / "predictions.json").is_file():
                by_seed.setdefault(seed, []).append((row.name, run))
    if not by_seed:
        return None, None
    seed = max(sorted(by_seed), key=lambda seed: len(by_seed[seed]))
    root = roots[by_seed[seed][0][1]]
    chosen = [(label, results / "runs" / run) for label, run in by_seed[seed] if roots[run] == root]
    split = _eval_split(chosen[0][1])
    annotations = root / "annotations" / f"instances_{split}.json"
    if not annotations.is_file():
        return None, None
    predictions = [(label, stamp(run / "predictions.json")) for label, run in chosen]
    shown = [predictions, stamp(annotations), str(root), quality]
    drawn = partial(draw, "masks:mask_panel", chosen, annotations, root / split, quality)
    return drawings.panel(shown, drawn), seed


def seed_runs(result: TableResult, row: RowView) -> dict[int, str]:
    """Seed -> run of a row."""
    return {
        seed: run
        for metric in result.table.columns
        for seed, run in sorted(result.cells[row.label, metric].runs.items())
    }


def _eval_split(run: Path) -> str:
    """The split that a run is evaluated on, from its recipe.json; `shapes` roots call it val."""
    data = read_record(run / "recipe.json")["recipe"].get("data", {})
    return "val" if data.get("dataset") == "shapes" else data.get("eval", "val2017")


def default_roots(report: Report, results: Path) -> dict[str, Path]:
    """Run id -> its generated COCO root, where that is there."""
    names = {run: train.get("data", {}).get("root_name") for run, train in report.runs.items()}
    return {run: results / "data" / n for run, n in names.items() if n and (results / "data" / n).is_dir()}


def faces(
    report: Report, results: Path, roots: Mapping[str, Path], drawings: Drawings
) -> dict[str, dict[str, Any]]:
    """The masks of the papers' cards for JSON: table key -> panel of the rows that the card shows."""
    tables = {result.table.key: result for result in report.tables}
    panels = {}
    for key, paper in load_papers().items():
        result = tables.get(f"{key}/{paper.face.masks}") if paper.face else None
        if result is None:
            continue
        view = table_view(result, report.scale)
        view = replace(view, rows=[row for row in view.rows if row.label in paper.face.rows])
        panel, _ = panel_of(result, view, results / report.scale, roots, FACE_QUALITY, drawings)
        if panel:
            panels[result.table.key] = asdict(panel)
    return panels


def read_faces(path: Path) -> dict[str, Panel]:
    """Panels by table key; an empty dictionary where there is no such file."""
    if not path.exists():
        return {}
    try:
        return {
            key: Panel(Strip(**tree["truth"]), [Strip(**row) for row in tree["rows"]], tree["images"])
            for key, tree in read_json(path).items()
        }
    except (AttributeError, KeyError, TypeError) as error:
        raise WsisError(f"{path}: not panels of masks: {error!r}") from None
