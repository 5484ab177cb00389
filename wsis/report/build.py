"""Gather whatever a scale's results folder holds into a Report; a half-finished one is fine."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsis.declare.load import load_errata, load_figures
from wsis.declare.table import Curve, Erratum, Figure, Row, Table
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.measures.words import NO_DETECTOR, BoundaryMaps, ProxyMasks, PseudoMasks, is_measure
from wsis.plan import FILLS_BOXES, Plan, Run, protocol_of
from wsis.provenance import boundary_hash, code_hash, proxy_hash, pseudo_hash
from wsis.report.claims import judge
from wsis.report.cost_cells import COSTS, cost_cell, read_costs
from wsis.report.measure_cells import measure_cell
from wsis.report.model import CellResult, FigureResult, Report, TableResult, Trend
from wsis.report.noise import gather
from wsis.report.stats import decimals, kendall_tau_b, published_interval

MIN_TREND_ROWS = 4
# Which classes carry no masks under a supervision, as metrics.json names them in `groups`.
UNSEEN = {"masks-voc": "nonvoc", "masks-nonvoc": "voc"}
EDGES = {"any": "an endpoint in the box", "centre": "the centre pixel in the box"}


def build_report(
    plan: Plan,
    results: Path,
    figures: Mapping[str, Figure] | None = None,
    errata: Mapping[str, list[Erratum]] | None = None,
) -> Report:
    """Everything known about `plan` at its scale.

    results: the folder that holds `<scale>/runs/<id>/` and `<scale>/affinity.json`; any part may be absent.
    figures, errata: the declared ones by default. Raises WsisError for a file that can't be read.
    """
    found = Found(plan, Path(results))
    figures = load_figures() if figures is None else figures
    errata = load_errata() if errata is None else errata
    tables = {key: _table(table, plan, found, errata) for key, table in plan.tables.items()}
    images = {run.id: _images(run) for run in plan.runs.values()}
    noise, scale = gather(tables, images), plan.scale.name
    for result in tables.values():
        result.claims = [judge(c, result.table, tables, scale, images, noise) for c in result.table.claims]
    return Report(
        scale=plan.scale.name,
        seeds=tuple(plan.seeds),
        tables=list(tables.values()),
        figures=[_figure(figure, found) for figure in figures.values()],
        errata=dict(errata),
        provenance=_provenance(plan, found),
        runs={run: found.train[run] for run in plan.runs if run in found.metrics and run in found.train},
    )


class Found:
    """The files of a scale's results folder, each read once. Dictionaries hold what exists, by run id."""

    def __init__(self, plan: Plan, results: Path):
        self.plan = plan
        self.root = results / plan.scale.name
        self.metrics = self._files("metrics.json")
        self.train = self._files("train.json")
        self.environment = self._files("environment.json")
        affinity = self.root / "affinity.json"
        self.affinity = read_json(affinity) if affinity.exists() else None
        self.pseudo = PseudoMasks(self.root / "pseudo")
        self.proxies = ProxyMasks(self.root / "proxy")
        self.boundaries = BoundaryMaps(self.root / "boundary")
        self.costs = read_costs(self.root / "complexity.json")
        self._code: dict[str, str | None] = {}
        self._masks_code: str | None = None
        self._proxies_code: str | None = None
        self._boundaries_code: str | None = None

    def _files(self, name: str) -> dict[str, dict[str, Any]]:
        paths = {run: self.root / "runs" / run / name for run in self.plan.runs}
        return {run: read_json(path) for run, path in paths.items() if path.exists()}

    def stale(self, run: str) -> bool:
        """Is this run, or one that it starts from, not what training it now would give?

        Its code has changed since, or the run that it starts from was trained again.
        """
        planned = self.plan.runs.get(run)
        if planned is None:
            return False
        train = self.train.get(run, {})
        code = train.get("code")
        if code is not None and code != self._code_now(planned.recipe.method):
            return True
        began = [(train.get(key) or {}).get("weights") for key in ("parent", "proxy")]
        origins = [planned.parent, planned.recipe.proxy.parent if planned.recipe.proxy else None]
        return any(
            self._other_weights(origin, weights) or self.stale(origin)
            for origin, weights in zip(origins, began, strict=True)
            if origin
        )

    def stale_masks(self, warmup: str) -> bool:
        """The same for the measures of the pseudo masks at a warm-up. A file without its code is old."""
        measured = self.pseudo.content(warmup)
        if self._masks_code is None:
            self._masks_code = pseudo_hash()
        own = measured.get("code") != self._masks_code
        return own or self._other_weights(warmup, measured.get("weights")) or self.stale(warmup)

    def stale_proxies(self, parent: str) -> bool:
        """The same for the measures of the proxy masks of a first stage."""
        measured = self.proxies.content(parent)
        if self._proxies_code is None:
            self._proxies_code = proxy_hash()
        own = measured.get("code") != self._proxies_code
        return own or self._other_weights(parent, measured.get("weights")) or self.stale(parent)

    def stale_boundaries(self, run: str) -> bool:
        """The same for the measures of a run's boundary maps."""
        measured = self.boundaries.content(run)
        if self._boundaries_code is None:
            self._boundaries_code = boundary_hash()
        own = measured.get("code") != self._boundaries_code
        return own or self._other_weights(run, measured.get("weights")) or self.stale(run)

    def _other_weights(self, run: str, weights: str | None) -> bool:
        """Has this run other weights now than these? False where it is not known."""
        now = self.train.get(run, {}).get("weights")
        return None not in (weights, now) and weights != now

    def inherited(self, run: str) -> list[str]:
        """Deviations of the trainings that this run starts from, as they noted them themselves."""
        texts: dict[str, None] = {}
        todo = list(self.plan.runs[run].needs) if run in self.plan.runs else []
        while todo:
            origin = todo.pop(0)
            texts |= dict.fromkeys(self.train.get(origin, {}).get("deviations", ()))
            todo += self.plan.runs[origin].needs if origin in self.plan.runs else ()
        return list(texts)

    def _code_now(self, method: str) -> str | None:
        if method not in self._code:
            try:
                self._code[method] = code_hash(method)
            except WsisError:  # the method's sources are gone, so its numbers are old
                self._code[method] = None
        return self._code[method]

    def command(self, table: str) -> str:
        """What fills this table, training only what is missing, with the time that takes."""
        wanted: set[str] = set()
        todo = self.plan.wanted([table])
        while todo:
            run = self.plan.runs.get(todo.pop())
            if run is not None and run.id not in wanted and run.id not in self.metrics:
                wanted.add(run.id)
                todo += run.needs
        hours = sum(self.plan.runs[run].device_hours for run in wanted)
        time = f"{hours:.1f} h" if hours >= 0.1 else f"{max(1, round(hours * 60))} min"
        return f"{workflow(self.plan, table.replace('/', '_'))} (~{time} on {self.plan.scale.cost.device})"


def workflow(plan: Plan, target: str) -> str:
    """The command that makes a target of the workflow at this plan's scale and seeds."""
    config = [f"scale={plan.scale.name}"]
    if plan.asked:
        config.append(f"seeds=[{','.join(map(str, plan.seeds))}]")
    if plan.scale.data == "root":
        config.append("data_root=PATH")
    if plan.overrides:
        config.append(shlex.quote(f"set={json.dumps(plan.overrides)}"))
    return f"snakemake {target} --cores all --config {' '.join(config)}"


def _table(table: Table, plan: Plan, found: Found, errata: Mapping[str, list[Erratum]]) -> TableResult:
    result = TableResult(table)
    printed = {
        metric: decimals(table.published(row)[metric] for row in table.rows) for metric in table.columns
    }
    for row in table.rows:
        runs = plan.row_runs(table.key, row.label)
        for metric in table.metrics:
            cell = _cell(table, row, metric, runs, plan, found)
            cell.published = table.published(row).get(metric)
            if cell.published is not None:
                cell.interval = published_interval(cell.published, printed[metric], table.truncated)
            result.cells[row.label, metric] = cell
    result.trend = _trend(result)
    result.errata = [e for entries in errata.values() for e in entries if table.key in e.about]
    result.deviations = _deviations(table, plan, found)
    return result


def _cell(table: Table, row: Row, metric: str, runs: dict[int, str], plan: Plan, found: Found) -> CellResult:
    if row.kind == "quote":
        return CellResult(reason="quoted")
    if metric in COSTS:
        first, command = plan.seeds_of(table.paper)[0], f"wsis complexity --scale {plan.scale.name}"
        return cost_cell(table, row, metric, first, runs, found.costs, command)
    if not runs:
        return CellResult(reason=plan.row_reason(table.key, row.label) or "not part of this plan")
    if metric == "prop":
        return _affinity_cell(table, runs, plan, found)
    if is_measure(metric):
        return measure_cell(table, metric, runs, plan, found)
    protocol = protocol_of(metric, row.protocol or table.protocol)
    methods = {plan.runs[run].recipe.method for run in runs.values()}
    if protocol != "class-agnostic" and methods <= FILLS_BOXES:
        return CellResult(reason=NO_DETECTOR)
    runs = {seed: plan.measured_by(run, metric) for seed, run in runs.items()}
    if metric == "drop_rate":
        return _drop_cell(table, runs, found)
    cell, problems = CellResult(runs=dict(runs)), []
    for seed, run in sorted(runs.items()):
        measured = found.metrics.get(run)
        if measured is None:
            continue
        measured = measured.get("also", {}).get(protocol, measured)
        value = _value(measured, metric, _unseen_group(table, plan))
        if measured["protocol"] != protocol:
            problems.append(f"measured under protocol {measured['protocol']}, published under {protocol}")
        elif value is None or not math.isfinite(value):
            absent = "is undefined on this data" if metric in measured["metrics"] else "is not measured"
            problems.append(f"{metric} {absent}")
        else:
            cell.values[seed] = float(value)
    if not cell.values:
        cell.reason = problems[0] if problems else f"not run: {found.command(table.key)}"
    cell.stale = any(found.stale(runs[seed]) for seed in cell.values)
    return cell


def _drop_cell(table: Table, runs: dict[int, str], found: Found) -> CellResult:
    """Share of the proxy masks that a Mask R-CNN's training left out, from its train.json."""
    cell = CellResult(runs=dict(runs))
    for seed, run in sorted(runs.items()):
        proxies = found.train.get(run, {}).get("proxy")
        if proxies and proxies["drop_rate"] is not None:
            cell.values[seed] = float(proxies["drop_rate"])
    if not cell.values:
        cell.reason = f"not run: {found.command(table.key)}"
    cell.stale = any(found.stale(runs[seed]) for seed in cell.values)
    return cell


def _unseen_group(table: Table, plan: Plan) -> str | None:
    """The class group that this table calls unseen: the one its semi-supervised rows give boxes only."""
    ids = (run for row in table.rows for run in plan.row_runs(table.key, row.label).values())
    return next((UNSEEN[s] for run in ids if (s := plan.runs[run].recipe.data.supervision) in UNSEEN), None)


def _value(measured: dict[str, Any], metric: str, unseen: str | None) -> float | None:
    """A metric of a metrics.json. A run to which no class is unseen has the table's group instead."""
    value = measured["metrics"].get(metric)
    if value is None and metric.endswith("_unseen"):
        return measured.get("groups", {}).get(unseen, {}).get(metric.removesuffix("_unseen"))
    return value


def _affinity_cell(table: Table, runs: dict[int, str], plan: Plan, found: Found) -> CellResult:
    """`prop` at the row's own threshold: measured on the data once, so one value, under the first seed."""
    seed = min(runs)
    cell = CellResult(runs={seed: runs[seed]})
    recipe = plan.runs[runs[seed]].recipe.settled()
    spec = recipe.loss.pairwise
    if spec is None or recipe.data.supervision == "masks":
        return CellResult(reason="no threshold: this row does not guess edges from colours")
    if found.affinity is None:
        cell.reason = f"not run: {found.command(table.key)}"
    else:
        curve = found.affinity["definitions"]["any"]
        at = [
            p
            for tau, p in zip(curve["tau"], curve["prop"], strict=True)
            if math.isclose(tau, spec.tau, abs_tol=1e-9)
        ]
        if at and at[0] is not None:
            cell.values = {seed: float(at[0])}
        else:
            cell.reason = f"affinity.json has no value at tau = {spec.tau:g}"
    return cell


def _images(run: Run) -> str:
    """Which images a run is trained and evaluated on: numbers of other images can't be compared."""
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


def _deviations(table: Table, plan: Plan, found: Found) -> list[str]:
    """What differs from the paper, each once; with the rows it concerns where it does not concern all."""
    rows: dict[str, list[str]] = {}  # deviation -> labels
    trained = [row for row in table.rows if plan.row_runs(table.key, row.label)]
    for row in trained:
        texts: dict[str, None] = {}
        for run in plan.row_runs(table.key, row.label).values():
            planned = plan.runs[run]
            texts |= dict.fromkeys((*planned.deviations, *found.train.get(run, {}).get("deviations", ())))
            for text in found.inherited(run):
                texts |= {} if text in texts else {f"the training it starts from: {text}": None}
            split, here = row.split or table.split, planned.recipe.data.eval
            if "test" in split and "test" not in here:
                texts[f"published on {split}, measured on {here}"] = None
        for text in texts:
            rows.setdefault(text, []).append(row.label)
    everywhere = [text for text, labels in rows.items() if len(labels) == len(trained)]
    somewhere = [f"{text} ({_some(labels)})" for text, labels in rows.items() if len(labels) < len(trained)]
    return [*everywhere, *somewhere, *_mixed_data(table, plan, found)]


def _mixed_data(table: Table, plan: Plan, found: Found) -> list[str]:
    """Rows of one seed and data set that were trained on different annotations can't be compared."""
    seen: dict[tuple[int, str], dict[str, list[str]]] = {}  # seed, data set -> root -> labels
    for row in table.rows:
        for seed, run in plan.row_runs(table.key, row.label).items():
            if data := found.train.get(run, {}).get("data"):
                roots = seen.setdefault((seed, plan.runs[run].recipe.data.dataset), {})
                roots.setdefault(f"{data['root_name']} ({data['fingerprint']})", []).append(row.label)
    return [
        f"seed {seed}: rows trained on different data: "
        + "; ".join(f"{root}: {', '.join(labels)}" for root, labels in roots.items())
        for (seed, _), roots in seen.items()
        if len(roots) > 1
    ]


def _some(labels: list[str]) -> str:
    return f"rows {', '.join(labels)}" if len(labels) <= 3 else f"{len(labels)} rows"


def _figure(figure: Figure, found: Found) -> FigureResult:
    """Both curves under each definition of the edges that belong to a box."""
    if found.affinity is None:
        return FigureResult(figure, reason=f"not run: {workflow(found.plan, f'figure{figure.figure}')}")
    curves = [
        Curve(
            label=f"{metric}, {EDGES.get(name, name)}",
            metric=metric,
            points=tuple(
                (x, y) for x, y in zip(measured["tau"], measured[metric], strict=True) if y is not None
            ),
        )
        for metric in ("prop", "kept")
        for name, measured in found.affinity["definitions"].items()
    ]
    return FigureResult(figure, curves)


def _provenance(plan: Plan, found: Found) -> dict[str, Any]:
    trained = [found.train[run] for run in found.metrics if run in found.train]
    environments = list(found.environment.values())
    versions: dict[str, str] = {}
    for environment in environments:
        packages = environment.get("packages", {}) | {k: environment.get(k) for k in ("python", "cuda")}
        versions |= {name: version for name, version in packages.items() if version}
    return {
        "versions": dict(sorted(versions.items())),
        "commits": sorted({_commit(e) for e in environments if e.get("commit")}),
        "hardware": sorted({f"{e['device']}, {e['cores']} cores" for e in environments if e.get("device")}),
        "data": sorted({train["data"]["root_name"] for train in trained if train.get("data")}),
        "seeds": list(plan.seeds),
        "runs": sum(run in found.metrics for run in plan.runs),
        "planned": len(plan.runs),
        "seconds": math.fsum(train.get("seconds") or 0.0 for train in trained),
    }


def _commit(environment: dict[str, Any]) -> str:
    return environment["commit"] + (" with local changes" if environment.get("modified") else "")
