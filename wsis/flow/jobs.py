"""What the command line's jobs do with a plan: everything between reading files and calling the package."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import groupby
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

from wsis.card import ABOUT, about_model
from wsis.checksums import seal
from wsis.data.places import Roots, named_roots, run_root, shapes_root
from wsis.declare.stored import difference
from wsis.errors import WsisError
from wsis.finished import METRICS
from wsis.flow.work import evaluated
from wsis.judge import same_data
from wsis.measures.measure import Asked, Measured, MeasureSet, Subject
from wsis.measures.registry import sets
from wsis.plan import Plan
from wsis.records import sound, write_record
from wsis.results.runs import roots_of
from wsis.signals import OneByOne
from wsis.trained.evaluate import lists_the_same, show_metrics

if TYPE_CHECKING:
    from wsis.data.roots import Root


def make_data(plan: Plan, results: Path, root: str | None = None) -> list[Path]:
    """Draw the generated roots that the plan's runs read, or only `root`; existing ones stay as they are.

    root: a folder name. Raises WsisError when no run reads it.
    """
    from wsis.data.shapes.write import write_shapes

    roots = {name: run.recipe for run in plan.runs.values() if (name := shapes_root(run.recipe))}
    if root is not None and root not in roots:
        there = ", ".join(roots) or "none"
        raise WsisError(f"no run reads a root {root} with these seeds (there are: {there})")
    base = results / plan.scale.name / "data"
    wanted = roots if root is None else [root]
    return [write_shapes(roots[name].data.shapes, roots[name].seed, base / name) for name in wanted]


def evaluate_runs(
    plan: Plan, ids: Sequence[str], results: Path, data_root: Roots, since: Path | None = None
) -> None:
    """Write metrics.json of each run, by the protocols of the tables that show it.

    since: what was evaluated after this file was written stays, such as by an earlier attempt of a job. With
    it Interrupted is raised at a job's time limit.
    """
    from wsis.data.ground_truth import category_groups, eval_annotations, eval_image_ids
    from wsis.data.roots import open_root
    from wsis.evaluation.run import evaluate_run

    opened, root = None, None
    plan.check_known(ids)
    folders = [results / plan.scale.name / "runs" / id for id in ids]
    left = [each for each in folders if not (_newer(each / METRICS, since) and evaluated(each))]
    with OneByOne("evaluating {} of {} runs", len(left), since is not None) as attempt:
        for folder in left:
            id = folder.name
            recipe = plan.runs[id].recipe
            if text := difference(folder, recipe):
                raise WsisError(f"{folder}: {text}; train it again")
            wanted = run_root(recipe, results, plan.scale.name, data_root), recipe.data
            if wanted != opened:  # runs of a job mostly have one root
                opened, root = wanted, open_root(recipe, wanted[0])
                images = eval_image_ids(recipe, root)
                annotations = eval_annotations(root, results / plan.scale.name / "data")
            same_data(folder, root)
            if not lists_the_same(folder, root):
                text = f"predicted images with other ids or names than {root.path} lists now"
                todo = f"to predict these: wsis evaluate {folder} --data {root.path}"
                raise WsisError(f"{folder}: {text}; {todo}")
            if not sound(folder / ABOUT, id):  # damaged, or a run of a former version
                _describe(plan, id, folder, root)
            metrics = evaluate_run(folder, annotations, plan.protocols(id), category_groups(root), images)
            show_metrics(folder, metrics)
            attempt.finished()


def _newer(path: Path, other: Path | None) -> bool:
    """Whether `path` was written after `other`; False where it isn't there, or nothing is to be compared."""
    return other is not None and path.exists() and path.stat().st_mtime >= other.stat().st_mtime


def _describe(plan: Plan, id: str, folder: Path, root: Root) -> None:
    """Write model.json of a trained run as its training did; without weights it has no normalisation."""
    from wsis.engine.finish import normalisation
    from wsis.methods.weights import trained_method

    planned = plan.runs[id]
    about = about_model(planned.recipe, root, planned.rows, plan.protocols(id))
    with suppress(WsisError):
        method, _ = trained_method(folder, planned.recipe, root.num_classes)
        about["normalisation"] = normalisation(method)
    write_record(folder / ABOUT, about)


def measure(
    plan: Plan,
    words: Sequence[str],
    results: Path,
    data_root: Roots,
    accelerator: str | None = None,
    since: Path | None = None,
) -> list[Path]:
    """results/<scale>/measures/<set>/<key>.json of what `words` stand for; returns the paths.

    words: names of sets of measures, tables and keys (ids of trained runs, or of recipes), none for all; what
    tables show of runs that aren't trained is left out. accelerator: of networks that run; None takes a
    graphics card where there is one. since: as of `evaluate_runs`. Raises WsisError for a key that is not
    measured, isn't trained or was trained on other data, and Interrupted at a job's time limit.
    """
    from wsis.measures.file import Measurements, path_of
    from wsis.measures.wanted import chosen, finished

    base = results / plan.scale.name
    trained = {run for run in plan.runs if sound(base / "runs" / run / "train.json", run)}
    there, paths, left = Measurements(base), [], list[tuple[MeasureSet, Subject]]()
    for name, keys in chosen(plan, words).items():
        its_set = sets()[name]
        for key, cases in keys.items():
            if its_set.needs == "run" and key not in trained:
                if key in words:
                    raise WsisError(f"{base / 'runs' / key / 'train.json'}: no such file; train {key} first")
                continue
            paths.append(path_of(base, name, key))
            if not (_newer(paths[-1], since) and finished(there, its_set, key, cases, trained)):
                left.append((its_set, Subject(key, cases, base)))
    if not paths:
        raise WsisError(f"nothing to measure at {plan.scale.name}: no run behind it is trained")
    with OneByOne("measuring {} of {} subjects", len(left), since is not None) as attempt:
        for its_set, group in groupby(left, key=lambda each: each[0]):
            lines = []
            for _, subject in group:
                measured = _measure(plan, its_set, subject, data_root, accelerator)
                lines += [(subject.cases[case], values) for case, values in measured.values.items()]
                attempt.finished()
            _show(its_set, lines)
    return paths


def _measure(
    plan: Plan, its_set: MeasureSet, subject: Subject, data_root: Roots, accelerator: str | None
) -> Measured:
    from wsis.data.roots import open_root
    from wsis.measures.file import write_measured

    start = time.monotonic()
    if its_set.needs == "run":
        subject.run, subject.folder = plan.runs[subject.key], subject.base / "runs" / subject.key
    if its_set.needs != "recipe":
        recipe = (subject.run or next(iter(subject.cases.values())).run).recipe
        subject.root = open_root(recipe, run_root(recipe, subject.base.parent, plan.scale.name, data_root))
    if subject.folder:
        if text := difference(subject.folder, subject.run.recipe):
            raise WsisError(f"{subject.folder}: {text}; train it again")
        same_data(subject.folder, subject.root)
    with _device(accelerator) if its_set.network else nullcontext("cpu") as subject.device:
        measured = resolve_name(its_set.compute)(subject)
    path = write_measured(its_set, subject, measured)
    counts = [f"{name} {value}" for name, value in measured.details.items() if isinstance(value, int)]
    print(f"{', '.join([*counts, f'{time.monotonic() - start:.0f} s'])}: {path}")
    return measured


@contextmanager
def _device(accelerator: str | None) -> Iterator[Any]:
    """A torch device: on None a graphics card where there is one, held while it is used."""
    import torch

    from wsis.engine.devices import accelerator_of
    from wsis.engine.run import lease_devices

    accelerator = accelerator_of(accelerator)
    with lease_devices(accelerator, 1) as (card,):
        yield torch.device("cpu" if accelerator == "cpu" else f"cuda:{card}")


def _show(its_set: MeasureSet, lines: list[tuple[Asked, dict[str, float | None]]]) -> None:
    """What was measured for each row, in a grid a table with the columns that it shows."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=max(Console().width, 120))
    for table in {asked.table.key: asked.table for asked, _ in lines}.values():
        measures = [measure for measure in its_set.measures if measure.name in table.metrics]
        grid = Table(f"{table.key}, {its_set.name}")
        for measure in measures:
            unit = "" if measure.unit in measure.words else f", {measure.unit}"
            grid.add_column(measure.words + unit, justify="right", min_width=6)
        for asked, values in lines:
            if asked.table is table:
                numbers = (values[measure.name] for measure in measures)
                grid.add_row(asked.row.label, *("" if x is None else f"{x:.4g}" for x in numbers))
        console.print(grid)


def write_report(plan: Plan, results: Path, reports: Path, data_root: Roots, reference: bool = False) -> Path:
    """Everything under reports/<scale>/ and results/<scale>/metrics.csv; returns the path of index.html.

    reference: also make this the reference, what later runs are compared with: results/reference/<scale>/
    (`keep_reference`) and, rendered from it, reports/reference/<scale>/.
    """
    from wsis.flow.live import live
    from wsis.flow.reference import keep_reference, render_reference
    from wsis.report.build import build_report
    from wsis.report.collect import write_metrics
    from wsis.report.diff import write_diff
    from wsis.report.drawn import Drawings
    from wsis.report.render import render_report

    report = build_report(plan, results)
    for name, text in report.refused.items():
        print(f"{name}: left out: {text}", file=sys.stderr, flush=True)
    report.live = live(plan, results)
    scale = plan.scale.name
    out = reports / scale
    roots = {}
    for id in report.runs:
        recipe, given = plan.runs[id].recipe, data_root or roots_of(results / scale / "runs" / id)
        if shapes_root(recipe) or recipe.data.dataset in named_roots(given):
            roots[id] = run_root(recipe, results, scale, given)
    out.mkdir(parents=True, exist_ok=True)
    write_metrics(report, results / scale / "metrics.csv")
    seal(results / scale / "metrics.csv")
    write_diff(report, out / "diff.json")
    page = render_report(report, results, out, roots)
    if reference:
        keep_reference(plan, report, results, roots, Drawings(out / "drawn"))
        render_reference(scale, results, reports)
    return page
