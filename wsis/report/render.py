"""Write a report: per-table files, plots, and one page with its pictures beside it, which works offline."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from wsis.declare.load import load_papers
from wsis.errors import WsisError
from wsis.files import write_bytes, write_text
from wsis.report.assets import Assets
from wsis.report.drawn import Drawings, Panel, draw, stamp
from wsis.report.effects import agreements
from wsis.report.markup import templates
from wsis.report.mask_panels import default_roots, panel_of, seed_runs
from wsis.report.model import Report, TableResult
from wsis.report.page import FigureSection, Paper, Section, context
from wsis.report.paste.latex import to_tex
from wsis.report.paste.markdown import to_plain_markdown
from wsis.report.paste.numbers import VARIANTS
from wsis.report.pictures import Picture, Pictures, read_pictures
from wsis.report.tables import to_csv, to_markdown
from wsis.report.view import PAPER_TITLES, TableView, table_view

PAGE_STRIPS = 60  # beyond this many strips of masks their quality goes down
FILES = ("csv", "md", "tex", "html")  # of a table, linked on the page


def render_report(
    report: Report,
    results: Path,
    out: Path,
    roots: Mapping[str, Path] | None = None,
    panels: Mapping[str, Panel] | None = None,
) -> Path:
    """Write `out`/index.html, pictures/, agreement.png, and the files of tables and figures below <paper>/.

    These are table<N>.{md,csv,tex,html,png} and figure<N>.png.

    results  the folder that holds <scale>/runs/<id>/ (training curves and masks come from there)
    roots    run id -> COCO root its predictions belong to; default <scale>/data/<root name in its train.json>
    panels   table key -> its masks, for tables whose runs aren't there

    Every variant of a table to paste is written as table<N>.<variant>.{tex,md}. Works with any subset of runs
    present. Drawings of an earlier report that show the same are taken from `out`/drawn. Returns the path of
    index.html.
    """
    drawings, assets = Drawings(out / "drawn"), Assets(out)
    results = Path(results) / report.scale
    roots = {**default_roots(report, results), **(roots or {})}
    views = {result.table.key: table_view(result, report.scale) for result in report.tables}
    strips = sum(len(view.trained) for view in views.values() if view.measured)
    quality = 82 if strips <= PAGE_STRIPS else 60
    draw_masks = partial(panel_of, results=results, roots=roots, quality=quality, drawings=drawings)
    declared = load_papers()
    papers = {
        key: Paper(key, title, declared[key].face, errata=report.errata.get(key, []))
        for key, title in PAPER_TITLES.items()
    }
    drawn: set[str] = set()  # runs whose pictures are on the page
    for result in report.tables:
        view = views[result.table.key]
        section = _section(result, view, results, draw_masks, drawn, drawings)
        if section.masks is None:
            section.masks = (panels or {}).get(result.table.key)
        section.masks = assets.panel(section.masks)
        section.pictures = [assets.pictures(each) for each in section.pictures]
        paper = papers[result.table.paper]
        (paper.measured if view.measured else paper.unrun).append(section)
        if view.measured and paper.face and paper.face.plot == result.table.table:
            shows = ["card", *_numbers(result)]
            paper.plot = drawings.plot(shows, partial(draw, "effect_plots:card_plot", result))
        _write_table(section, report, out / result.table.paper)
    for figure in report.figures:
        redrawn = FigureSection(figure, drawings.plot(figure, partial(draw, "plots:figure_plot", figure)))
        papers[figure.figure.paper].figures.append(redrawn)
        if redrawn.plot and redrawn.plot.png:
            write_bytes(out / figure.figure.paper / f"figure{figure.figure.figure}.png", redrawn.plot.png)
    ordered = sorted(
        papers.values(), key=lambda paper: not (paper.measured or any(f.plot for f in paper.figures))
    )
    files = FILES if panels is None else tuple(ending for ending in FILES if ending != "html")
    rows = agreements(report)
    scatter = drawings.plot(rows, partial(draw, "agreement:agreement_plot", rows, report.scale))
    if scatter and scatter.png:
        write_bytes(out / "agreement.png", scatter.png)
    shown = context(report, ordered, files) | {"scatter": scatter}
    page = templates().get_template("index.html").render(shown)
    write_text(out / "index.html", page)
    drawings.forget_others()
    assets.forget_others()
    return out / "index.html"


def _numbers(result: TableResult) -> list[Any]:
    """All that a table's plot shows."""
    cells = [(*place, cell.published, cell.values, cell.effect) for place, cell in result.cells.items()]
    return [result.table, result.trend, cells]


def _section(
    result: TableResult, view: TableView, results: Path, draw_masks: Any, drawn: set[str], drawings: Drawings
) -> Section:
    """A table's section; runs whose pictures it shows are added to `drawn`, and not shown again."""
    if not view.measured:
        return Section(result, view)
    runs = [(row.name, [results / "runs" / run for run in row.runs]) for row in view.trained]
    panel, seed = draw_masks(result, view)
    logs = [(label, [stamp(run / "log.jsonl") for run in folders]) for label, folders in runs]
    name = f"{view.anchor}-curves"
    return Section(
        result,
        view,
        drawings.plot(
            [view.effects, *_numbers(result)], partial(draw, "plots:table_plot", result, view.effects)
        ),
        drawings.plot([name, logs], partial(draw, "curves:curves_plot", name, runs)),
        panel,
        seed,
        _pictures(result, view, results, drawn),
    )


def _pictures(result: TableResult, view: TableView, results: Path, drawn: set[str]) -> list[Pictures]:
    """The pictures of the rows' runs that are not in `drawn` yet; their runs are added to it."""
    shown = []
    for row in view.trained:
        for seed, run in seed_runs(result, row).items():
            if run not in drawn and (pictures := _read_pictures(results / "runs" / run)):
                shown.append(Pictures(row.name, seed, pictures))
                drawn.add(run)
    return shown


def _read_pictures(run: Path) -> list[Picture]:
    """The pictures of a run; none where their files are damaged, which stderr is told."""
    try:
        return read_pictures(run)
    except WsisError as error:
        print(f"{error}: left out", file=sys.stderr, flush=True)
        return []


def _write_table(section: Section, report: Report, folder: Path) -> None:
    result, stem = section.result, f"table{section.result.table.table}"
    page = templates().get_template("table_page.html").render(section=section, report=report)
    write_text(folder / f"{stem}.md", to_markdown(result, report.scale))
    write_text(folder / f"{stem}.csv", to_csv(result, report.scale))
    write_text(folder / f"{stem}.tex", to_tex(result, report.scale))
    for variant in VARIANTS:
        write_text(folder / f"{stem}.{variant}.tex", to_tex(result, report.scale, variant))
        write_text(folder / f"{stem}.{variant}.md", to_plain_markdown(result, report.scale, variant))
    write_text(folder / f"{stem}.html", page)
    if section.plot and section.plot.png:
        write_bytes(folder / f"{stem}.png", section.plot.png)
