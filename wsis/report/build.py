"""Gather whatever a scale's results folder holds into a Report; a half-finished one is fine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsis.declare.load import load_errata, load_figures
from wsis.declare.table import Curve, Erratum, Figure, Table
from wsis.measures.wanted import first_key
from wsis.plan import Plan, Run
from wsis.report.cells import cell_of
from wsis.report.claims import judge
from wsis.report.deviations import by_text, of_row
from wsis.report.effects import fill_effects
from wsis.report.many import correct
from wsis.report.model import FigureResult, Report, TableResult, Trend
from wsis.report.noise import gather
from wsis.report.power import fill_decisions
from wsis.report.ran import ran_on
from wsis.report.recorded import Recorded
from wsis.report.results import Results, workflow
from wsis.report.stats import decimals, kendall_tau_b, published_interval

MIN_TREND_ROWS = 4


def build_report(
    plan: Plan,
    folder: Path,
    figures: Mapping[str, Figure] | None = None,
    errata: Mapping[str, list[Erratum]] | None = None,
    recorded: Recorded | None = None,
) -> Report:
    """Everything known about `plan` at its scale.

    folder: the one that holds `<scale>/runs/<id>/` and `<scale>/measures/`; any part may be absent.
    figures, errata: the declared ones by default. recorded: numbers that stand for runs that aren't there.
    Raises WsisError for a file that can't be read.
    """
    results = Results(plan, Path(folder))
    figures = load_figures() if figures is None else figures
    errata = load_errata() if errata is None else errata
    tables = {key: _table(table, results, errata, recorded) for key, table in plan.tables.items()}
    images = {run.id: _images(run) for run in plan.runs.values()}
    noise, scale = gather(tables, images), plan.scale.name
    for result in tables.values():
        fill_effects(result, images, noise)
        result.claims = [judge(c, result.table, tables, scale, images, noise) for c in result.table.claims]
    claims = [claim for result in tables.values() for claim in result.claims]
    fill_decisions(claims, plan, correct(claims))
    return Report(
        scale=plan.scale.name,
        seeds=tuple(plan.seeds),
        tables=list(tables.values()),
        figures=[_figure(figure, results) for figure in figures.values()],
        errata=dict(errata),
        provenance=_provenance(results) | ({"runs": len(recorded.runs)} if recorded else {}),
        runs={run: results.train[run] for run in results.metrics if run in results.train},
        refused={**results.odd, **results.refused, **results.measurements.refused},
    )


def _table(
    table: Table, results: Results, errata: Mapping[str, list[Erratum]], recorded: Recorded | None
) -> TableResult:
    result = TableResult(table, ran=ran_on(table, results))
    printed: dict[str, int] = {
        metric: decimals(table.published(row)[metric] for row in table.rows) for metric in table.columns
    }
    for row in table.rows:
        for metric in table.metrics:
            cell = cell_of(table, row, metric, results)
            if recorded:
                recorded.fill(cell, table.key, row.label, metric)
            cell.published = None if result.own_data else table.published(row).get(metric)
            if cell.published is not None:
                cell.interval = published_interval(cell.published, printed[metric], table.truncated)
            result.cells[row.label, metric] = cell
    result.trend = _trend(result)
    result.errata = [e for entries in errata.values() for e in entries if table.key in e.about]
    result.deviations = _deviations(table, results)
    return result


def _images(run: Run) -> str:
    """The images that a run is trained and evaluated on; only numbers of the same images are compared."""
    return run.recipe.data.model_dump_json(include={"dataset", "train", "eval", "shapes"})


def _trend(result: TableResult) -> Trend | None:
    table = result.table
    metric = next((m for m in table.columns if m.startswith("AP")), None)
    metric = metric or next((m for m in table.columns if "IoU" in m), None)
    both = {
        row.label: cell
        for row in table.rows
        if row.kind == "train" and (cell := result.cells.get((row.label, metric))) is not None
        if cell.published is not None and cell.mean is not None
    }
    if not both:
        return None
    published, measured = ([c.published for c in both.values()], [c.mean for c in both.values()])
    return Trend(
        tau_b=kendall_tau_b(published, measured) if len(both) >= MIN_TREND_ROWS else None,
        n=len(both),
        metric=metric,
        best_published=max(both, key=lambda label: both[label].published),
        best_measured=max(both, key=lambda label: both[label].mean),
    )


def _deviations(table: Table, results: Results) -> list[str]:
    """What differs from the paper, each once. The rows are named where it does not concern all of them."""
    plan, texts = results.plan, dict[str, list[str]]()
    trained = [row for row in table.rows if plan.row_runs(table.key, row.label)]
    for row in trained:
        texts[row.label] = list(dict.fromkeys(_of_row(table.key, row.label, results)))
    rows = by_text(texts)
    everywhere = [text for text, labels in rows.items() if len(labels) == len(trained)]
    somewhere = [f"{text} ({_some(labels)})" for text, labels in rows.items() if len(labels) < len(trained)]
    return [*everywhere, *somewhere, *_mixed_data(table, results)]


def _of_row(table: str, label: str, results: Results) -> Iterator[str]:
    """What is known before a row runs, and what its trainings and those that they start from have told."""
    known = of_row(results.plan, table, label)
    yield from known
    for run in results.plan.row_runs(table, label).values():
        told = results.train.get(run, {}).get("deviations", ())
        yield from told
        inherited = (text for text in results.inherited(run) if text not in (*known, *told))
        yield from (f"the training it starts from: {text}" for text in inherited)
        if odd := (results.differing | results.refused).get(run):
            yield f"a run is not shown: {odd}"


def _mixed_data(table: Table, results: Results) -> list[str]:
    """Rows of one seed and data set that were trained on different annotations can't be compared."""
    seen: dict[tuple[int, str], dict[str, list[str]]] = {}  # seed, data set -> root -> labels
    for row in table.rows:
        for seed, run in results.plan.row_runs(table.key, row.label).items():
            if data := results.train.get(run, {}).get("data"):
                roots = seen.setdefault((seed, results.plan.runs[run].recipe.data.dataset), {})
                roots.setdefault(f"{data['root_name']} ({data['fingerprint']})", []).append(row.label)
    return [
        f"seed {seed}: rows trained on different data: "
        + "; ".join(f"{root}: {', '.join(labels)}" for root, labels in roots.items())
        for (seed, _), roots in seen.items()
        if len(roots) > 1
    ]


def _some(labels: list[str]) -> str:
    return f"rows {', '.join(labels)}" if len(labels) <= 3 else f"{len(labels)} rows"


def _figure(figure: Figure, results: Results) -> FigureResult:
    """The curves that the figure's set of measures has drawn."""
    key = first_key(results.plan, figure.measure)
    curves = results.measurements.content(figure.measure, key).get("curves") if key else None
    if not curves:
        return FigureResult(figure, reason=f"not run: {workflow(results.plan, f'figure{figure.figure}')}")
    return FigureResult(
        figure, [Curve(**curve | {"points": tuple(map(tuple, curve["points"]))}) for curve in curves]
    )


def _provenance(results: Results) -> dict[str, Any]:
    trained = [results.train[run] for run in results.metrics if run in results.train]
    environments = list(results.environment.values())
    versions: dict[str, str] = {}
    for environment in environments:
        packages = environment.get("packages", {}) | {k: environment.get(k) for k in ("python", "cuda")}
        versions |= {name: version for name, version in packages.items() if version}
    return {
        "versions": dict(sorted(versions.items())),
        **made_by(environments),
        "data": sorted({train["data"]["root_name"] for train in trained if train.get("data")}),
        "seeds": list(results.plan.seeds),
        "runs": sum(run in results.metrics for run in results.plan.runs),
        "planned": len(results.plan.runs),
        "seconds": math.fsum(train.get("seconds") or 0.0 for train in trained),
    }


def made_by(environments: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Versions of the code and machines that the contents of environment.json name."""
    named = [e for e in environments if e]
    return {
        "commits": sorted({_commit(e) for e in named if e.get("commit")}),
        "hardware": sorted({f"{e['device']}, {e['cores']} cores" for e in named if e.get("device")}),
    }


def _commit(environment: Mapping[str, Any]) -> str:
    return environment["commit"] + (" with local changes" if environment.get("modified") else "")
