"""`wsis verify`: what in a results folder is damaged, half written, foreign or stale, and what to run.

damaged        another content than was written, a form that programs can't read, numbers out of their range
half written   of a training that hasn't ended, or of a process that was killed
foreign        of another run, or of no row of the papers now
stale          of other settings, code, weights or predictions than there are now
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsis.checksums import DamagedFile, fault, faults
from wsis.data.places import shapes_root
from wsis.errors import WsisError
from wsis.files import checksum_file, read_json
from wsis.finished import METRICS, RECORD, foreign, left, metrics_of
from wsis.measures.file import PATTERN
from wsis.plan import Plan
from wsis.records import FORMS, ForeignFile, MeasuredRecord, read_record
from wsis.report.results import Results
from wsis.results.runs import StoredRun, groups, plan_of, stored_runs

# Those that nobody needs and nothing makes again.
NOTES = ("log.jsonl", "environment.json", "given_boxes.json", "last.safetensors")
PARTS = ("runs", "data")  # of a scale's results


@dataclass(frozen=True)
class Finding:
    """What is wrong with a file or a folder. command: mends it, '' where nothing has to be done."""

    kind: str
    path: Path
    text: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.path}: {self.text}" + (f"\n    {self.command}" if self.command else "")


def verify_results(results: Path, scale: str | None = None) -> list[Finding]:
    """Everything that is wrong under `results`, at one scale or all, run by run; every file is read."""
    scales = sorted({path.parent.name for part in PARTS for path in results.glob(f"{scale or '*'}/{part}")})
    if not scales:
        raise WsisError(
            f"{results}/{scale or '<scale>'}/runs: no such folder; `wsis plan` says what there is to run"
        )
    return [finding for name in scales for finding in _scale(results, name)]


def _scale(results: Path, scale: str) -> Iterator[Finding]:
    """What is wrong at a scale: what runs read before the runs, and of these the parents first."""
    base, known, plans = results / scale, set[Path](), list[tuple[Plan, dict[str, StoredRun]]]()
    for group in groups(stored_runs(results, scale)):
        known |= {run.folder for run in group}
        try:
            plans.append((plan_of(group), {run.id: run for run in group}))
        except WsisError as error:
            text = f"its settings are refused now: {error}"
            yield from (Finding("foreign", run.folder, text, _remove(run.folder)) for run in group)
    yield from _data(base, {root: made for plan, _ in plans for root, made in _roots(plan, results).items()})
    for plan, runs in plans:
        there = Results(plan, results)
        ordered = plan.with_needed(id for id in runs if id in plan.runs)
        for id in sorted(runs, key=lambda id: ordered.index(id) if id in ordered else -1):
            yield from _run(runs[id], plan, there)
    for folder in sorted((base / "runs").glob("*/")):
        if folder not in known:
            yield from _without_recipe(folder)
    for path in sorted(base.glob(PATTERN)):
        try:
            read_record(path, form=MeasuredRecord)
        except WsisError as error:
            measure = f"wsis measure --scale {scale}{_where(results)} {path.parent.name} {path.stem}"
            yield Finding("damaged", path, _text(error, path), f"{_remove(path)} && {measure}")


def _data(base: Path, roots: dict[str, str]) -> Iterator[Finding]:
    """What is wrong beside the runs and in data/. roots: generated root -> the command that draws it."""
    for path in [*sorted(base.glob("*.json")), *sorted(base.glob("data/*.json"))]:
        try:
            read_json(path)
        except WsisError as error:
            yield Finding("damaged", path, _text(error, path), _remove(path))
    for beside in [*sorted(base.glob(".*.sha256")), *sorted(base.glob("data/**/.*.sha256"))]:
        path = beside.with_name(beside.name.removeprefix(".").removesuffix(".sha256"))
        if text := fault(path):
            alone = path.parent in (base, base / "data")
            its = path if alone and path.exists() else beside if alone else path.parent
            yield Finding("damaged", path, text, _remove(its))
    for folder in sorted(base.glob("data/*/")):
        for path, text in faults(folder).items():
            command = " && ".join(filter(None, [_remove(folder), roots.get(folder.name)]))
            yield Finding("damaged", path, text, command)
    yield from _leftovers(base / "data")


def _roots(plan: Plan, results: Path) -> dict[str, str]:
    """Generated root -> the command that draws it."""
    options = f"--scale {plan.scale.name}{_where(results)}"
    for key, value in plan.overrides.items():
        options += f" --set {shlex.quote(f'{key}={json.dumps(value)}')}"
    return {
        root: f"wsis data make {options} --seed {run.seed} --root {root}"
        for run in plan.runs.values()
        if (root := shapes_root(run.recipe))
    }


def _run(run: StoredRun, plan: Plan, there: Results) -> Iterator[Finding]:
    """What is wrong with a run that has a recipe.json."""
    planned = plan.runs.get(run.id)
    train, evaluate, draw = (_command(word, run) for word in ("train", "evaluate", "pictures"))
    if planned is None:
        yield Finding("foreign", run.folder, "of no row now", _remove(run.folder))
        return
    wrong = [*_files(run.folder, train, evaluate, draw), *_leftovers(run.folder)]
    yield from wrong
    if run.id in there.differing:
        yield Finding("stale", run.folder, there.differing[run.id], train)
    elif not (run.folder / RECORD).exists():
        yield Finding(
            "half written", run.folder, f"no {RECORD}: its training or prediction hasn't ended", train
        )
    elif wrong:
        return
    elif text := left(run.folder, planned.recipe, plan.predicts(run.id)):
        yield Finding("half written", run.folder, text, train)
    elif text := foreign(run.folder, read_record(run.folder / RECORD)):
        yield Finding("foreign", run.folder, text, train)
    elif there.stale(run.id):
        text = "its code has changed since, or what it starts from was trained again"
        yield Finding("stale", run.folder, text, f"{_remove(run.folder)} && {train}")
    elif (run.folder / METRICS).exists():
        try:
            metrics_of(run.folder)
        except WsisError as error:
            yield Finding("stale", run.folder / METRICS, _text(error, run.folder / METRICS), evaluate)


def _files(folder: Path, train: str, evaluate: str, draw: str) -> Iterator[Finding]:
    """Files of a run that are not what was written, or can't be read."""
    for path in sorted(folder.rglob("*")):
        if path.name.startswith(".") or not path.is_file():
            continue
        again = [] if path.name in NOTES else [evaluate if path.name == METRICS else train]
        command = " && ".join([_remove(path), *again])
        if path.parent.name == "pictures":
            command = f"{_remove(path.parent)} && {draw}"
        try:
            if path.name in FORMS and path.parent in (folder, folder / "checkpoints"):
                read_record(path, folder.name)
            elif checksum_file(path).exists() and (text := fault(path)):
                raise DamagedFile(f"{path}: {text}")
        except ForeignFile as error:
            yield Finding("foreign", path, _text(error, path), command)
        except WsisError as error:
            yield Finding("damaged", path, _text(error, path), command)


def _without_recipe(folder: Path) -> Iterator[Finding]:
    """A folder among the runs whose recipe.json is missing, damaged or another run's."""
    path = folder / "recipe.json"
    if not path.exists():
        kind = "half written" if any(folder.iterdir()) else "foreign"
        yield Finding(kind, folder, "no recipe.json: no run", _remove(folder))
        return
    command = f"wsis train --scale {folder.parents[1].name}{_where(folder.parents[2])} {folder.name}"
    try:
        read_record(path, folder.name)
        yield Finding("damaged", path, "not the recipe of a run", command)
    except ForeignFile as error:
        yield Finding("foreign", path, _text(error, path), command)
    except WsisError as error:
        yield Finding("damaged", path, _text(error, path), command)


def _leftovers(folder: Path) -> Iterator[Finding]:
    """What processes that were killed have left; one that still writes is no reason to remove it."""
    for path in sorted(folder.rglob("*")):
        if path.name.endswith((".tmp", ".part")):
            text = "left by a process that was killed, unless it still writes"
            yield Finding("half written", path, text, "" if path.suffix == ".part" else _remove(path))


def _command(word: str, run: StoredRun) -> str:
    return f"wsis {word}{_where(run.results)} {run.id}"


def _where(results: Path) -> str:
    """The option of commands for results that lie elsewhere."""
    return "" if results == Path("results") else f" --results {shlex.quote(str(results))}"


def _remove(path: Path) -> str:
    """The command that removes a folder, or a file with its checksum."""
    if path.is_dir():
        return f"rm -r {shlex.quote(str(path))}"
    there = [path, *filter(Path.exists, [checksum_file(path)])]
    return f"rm {shlex.join(map(str, there))}"


def _text(error: WsisError, path: Path) -> str:
    """The error without the path that it begins with, and without the advice of those who load the file."""
    text = str(error).removeprefix(f"{path}: ").removeprefix("damaged: ")
    return text.partition("; delete it")[0]


def lines(findings: Sequence[Finding]) -> list[str]:
    """The findings, the worst first, and how many there are of each kind."""
    kinds = ("damaged", "half written", "foreign", "stale")
    ordered = sorted(findings, key=lambda finding: kinds.index(finding.kind))
    counts = [f"{sum(each.kind == kind for each in findings)} {kind}" for kind in kinds]
    return [*map(str, ordered), ", ".join(counts) if findings else "all is whole"]
