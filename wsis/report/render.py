"""Write a report: per-table files, plots, and one self-contained page that works offline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from wsis.declare.table import Erratum
from wsis.files import read_json, write_bytes, write_text
from wsis.report.drawn import Drawings, Panel, Plot, stamp
from wsis.report.markup import templates
from wsis.report.model import VERDICTS, FigureResult, Report, TableResult
from wsis.report.pictures import Pictures, read_pictures
from wsis.report.tables import to_csv, to_markdown, to_tex
from wsis.report.view import PAPER_TITLES, RowView, TableView, scale_caption, table_view

MARKS = {"reproduced": "✓", "contradicted": "✗", "inconclusive": "≈", "not run": "·"}
PAGE_STRIPS = 60  # beyond this many strips of masks their JPEG quality goes down, to bound the page's size


@dataclass
class Section:
    """A table on the page."""

    result: TableResult
    view: TableView
    plot: Plot | None
    curves: Plot | None
    masks: Panel | None
    seed: int | None  # whose masks are shown
    pictures: list[Pictures]  # of runs that no table above shows


@dataclass
class FigureSection:
    """A figure on the page."""

    result: FigureResult
    plot: Plot | None

    @property
    def name(self) -> str:
        return f"{PAPER_TITLES[self.result.figure.paper]}, Figure {self.result.figure.figure}"

    @property
    def anchor(self) -> str:
        return f"{self.result.figure.paper}-figure-{self.result.figure.figure}"


@dataclass
class Paper:
    """A paper's part of the page: what was measured first, then what was not."""

    key: str
    title: str
    measured: list[Section] = field(default_factory=list)
    unrun: list[Section] = field(default_factory=list)
    figures: list[FigureSection] = field(default_factory=list)
    errata: list[Erratum] = field(default_factory=list)


def render_report(report: Report, results: Path, out: Path, roots: Mapping[str, Path] | None = None) -> Path:
    """Write `out`/index.html and `out`/<paper>/{table<N>.{md,csv,tex,html}, table<N>.png, figure<N>.png}.

    results  the folder that holds <scale>/runs/<id>/ (training curves and masks come from there)
    roots    run id -> COCO root its predictions belong to; default <scale>/data/<root name in its train.json>

    Works with any subset of runs present. Drawings of an earlier report that show the same are taken from
    `out`/drawn. Returns the path of index.html.
    """
    drawings = Drawings(out / "drawn")
    results = Path(results) / report.scale
    roots = {**_default_roots(report, results), **(roots or {})}
    views = {result.table.key: table_view(result, report.scale) for result in report.tables}
    strips = sum(len(view.trained) for view in views.values() if view.measured)
    quality = 82 if strips <= PAGE_STRIPS else 60
    draw_masks = partial(_masks, results=results, roots=roots, quality=quality, drawings=drawings)
    papers = {
        key: Paper(key, title, errata=report.errata.get(key, [])) for key, title in PAPER_TITLES.items()
    }
    drawn: set[str] = set()  # runs whose pictures are on the page
    for result in report.tables:
        view = views[result.table.key]
        section = _section(result, view, results, draw_masks, drawn, drawings)
        paper = papers[result.table.paper]
        (paper.measured if view.measured else paper.unrun).append(section)
        _write_table(section, report, out / result.table.paper)
    for figure in report.figures:
        redrawn = FigureSection(figure, drawings.plot(figure, partial(_draw, "plots:figure_plot", figure)))
        papers[figure.figure.paper].figures.append(redrawn)
        if redrawn.plot and redrawn.plot.png:
            write_bytes(out / figure.figure.paper / f"figure{figure.figure.figure}.png", redrawn.plot.png)
    ordered = sorted(
        papers.values(), key=lambda paper: not (paper.measured or any(f.plot for f in paper.figures))
    )
    page = templates().get_template("index.html").render(_context(report, ordered))
    write_text(out / "index.html", page)
    drawings.forget_others()
    return out / "index.html"


def _context(report: Report, papers: list[Paper]) -> dict[str, Any]:
    claims = [claim for result in report.tables for claim in result.claims]
    counts = Counter(claim.verdict for claim in claims)
    sections = [section for paper in papers for section in (*paper.measured, *paper.unrun)]
    trained = [row for section in sections for row in section.view.trained]
    return {
        "report": report,
        "papers": [p for p in papers if p.measured or p.unrun or p.figures],
        "claims": claims,
        "counts": {verdict: counts[verdict] for verdict in VERDICTS},
        "edge": sum(claim.edge for claim in claims),
        "marks": MARKS,
        "views": {section.result.table.key: section.view for section in sections},
        "paper_titles": PAPER_TITLES,
        "scale_caption": scale_caption(report.scale),
        "measured_rows": sum(row.measured for row in trained),
        "trained_rows": len(trained),
    }


def _section(
    result: TableResult, view: TableView, results: Path, draw_masks: Any, drawn: set[str], drawings: Drawings
) -> Section:
    """A table's section; runs whose pictures it shows are added to `drawn`, and not shown again."""
    if not view.measured:
        return Section(result, view, None, None, None, None, [])
    runs = [(row.name, [results / "runs" / run for run in row.runs]) for row in view.trained]
    panel, seed = draw_masks(result, view)
    cells = [(*place, cell.published, cell.values) for place, cell in result.cells.items()]
    logs = [(label, [stamp(run / "log.jsonl") for run in folders]) for label, folders in runs]
    name = f"{view.anchor}-curves"
    return Section(
        result,
        view,
        drawings.plot([result.table, result.trend, cells], partial(_draw, "plots:table_plot", result)),
        drawings.plot([name, logs], partial(_draw, "curves:curves_plot", name, runs)),
        panel,
        seed,
        _pictures(result, view, results, drawn),
    )


def _draw(function: str, *arguments: Any) -> Any:
    """Call "module:function" of wsis.report, imported only now: a report without news needs no matplotlib."""
    module, name = function.split(":")
    return getattr(import_module(f"wsis.report.{module}"), name)(*arguments)


def _pictures(result: TableResult, view: TableView, results: Path, drawn: set[str]) -> list[Pictures]:
    """The pictures of the rows' runs that are not in `drawn` yet; their runs are added to it."""
    shown = []
    for row in view.trained:
        for seed, run in _seed_runs(result, row).items():
            if run not in drawn and (pictures := read_pictures(results / "runs" / run)):
                shown.append(Pictures(row.name, seed, pictures))
                drawn.add(run)
    return shown


def _masks(
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
        for seed, run in _seed_runs(result, row).items():
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
    draw = partial(_draw, "masks:mask_panel", chosen, annotations, root / split, quality)
    return drawings.panel(shown, draw), seed


def _seed_runs(result: TableResult, row: RowView) -> dict[int, str]:
    return {
        seed: run
        for metric in result.table.columns
        for seed, run in sorted(result.cells[row.label, metric].runs.items())
    }


def _eval_split(run: Path) -> str:
    """The split that a run is evaluated on, from its recipe.json; `shapes` roots call it val."""
    data = read_json(run / "recipe.json")["recipe"].get("data", {})
    return "val" if data.get("dataset") == "shapes" else data.get("eval", "val2017")


def _default_roots(report: Report, results: Path) -> dict[str, Path]:
    names = {run: train.get("data", {}).get("root_name") for run, train in report.runs.items()}
    return {run: results / "data" / n for run, n in names.items() if n and (results / "data" / n).is_dir()}


def _write_table(section: Section, report: Report, folder: Path) -> None:
    result, stem = section.result, f"table{section.result.table.table}"
    page = templates().get_template("table_page.html").render(section=section, report=report)
    write_text(folder / f"{stem}.md", to_markdown(result, report.scale))
    write_text(folder / f"{stem}.csv", to_csv(result, report.scale))
    write_text(folder / f"{stem}.tex", to_tex(result, report.scale))
    write_text(folder / f"{stem}.html", page)
    if section.plot and section.plot.png:
        write_bytes(folder / f"{stem}.png", section.plot.png)
