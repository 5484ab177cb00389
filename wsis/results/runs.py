"""Runs that exist: where they lie, what they were made with, and the plan in which they stand.

A run's recipe.json says under `asked` which settings and roots its training was started with, so that nothing
is asked twice to look at it, to evaluate or to draw it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.alone import FIT, stored_plan
from wsis.declare.load import load_tables
from wsis.errors import WsisError, nearest_first
from wsis.plan import Plan, make_plan
from wsis.records import read_record
from wsis.results.naming import by_id, is_row, row_of, row_runs

DEFAULT = "tiny"  # scale of what nobody has run yet


@dataclass(frozen=True)
class StoredRun:
    """A run's folder results/<scale>/runs/<id>."""

    results: Path
    scale: str
    id: str
    seed: int
    settings: dict[str, Any] = field(default_factory=dict)  # dotted keys of a recipe
    roots: dict[str, str] | None = None  # data set -> path, of those that are still there

    @property
    def folder(self) -> Path:
        return self.results / self.scale / "runs" / self.id

    @property
    def made_with(self) -> tuple[str, ...]:
        """What runs of one plan have in common."""
        return str(self.results), self.scale, json.dumps([self.settings, self.roots], sort_keys=True)


@dataclass(frozen=True)
class Chosen:
    """Runs of one plan that words name, and where their images lie as far as they know it."""

    plan: Plan
    ids: list[str]
    results: Path
    roots: dict[str, str] | None = None

    @property
    def folders(self) -> list[Path]:
        return [self.results / self.plan.scale.name / "runs" / id for id in self.ids]


def stored_run(folder: Path) -> StoredRun:
    """The run in a folder. Raises WsisError where there is none, or it lies elsewhere than under results/."""
    path = folder / "recipe.json"
    tree = read_record(path)
    try:
        scale, recipe, asked = tree["scale"], tree["recipe"], tree.get("asked", {})
        roots = {name: path for name, path in (asked.get("data_root") or {}).items() if Path(path).exists()}
        settings = dict(asked.get("set", {}))
        run = StoredRun(folder.parents[2], scale, tree["id"], int(recipe["seed"]), settings, roots or None)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise WsisError(f"{path}: not the recipe of a run (id, scale, recipe, asked)") from None
    if run.folder != folder:
        raise WsisError(f"{folder}: is not results/{scale}/runs/{run.id}, where a run lies")
    return run


def stored_runs(results: Path, scale: str | None = None) -> Iterator[StoredRun]:
    """The runs under `results`, at one scale or all; those with a damaged recipe.json are passed over.

    stderr is told of these.
    """
    for path in sorted(results.glob(f"{scale or '*'}/runs/*/recipe.json")):
        try:
            yield stored_run(path.parent)
        except WsisError as error:
            print(f"{error}: left out", file=sys.stderr, flush=True)


def roots_of(folder: Path) -> dict[str, str] | None:
    """The user's roots that a run was trained with; None where there are none, or no run is."""
    try:
        return stored_run(folder).roots
    except WsisError:
        return None


def plan_of(runs: Sequence[StoredRun]) -> Plan:
    """The plan in which runs that were made with the same settings stand."""
    if runs[0].scale == FIT:
        return stored_plan([run.folder for run in runs], runs[0].settings)
    return make_plan(runs[0].scale, tuple(sorted({run.seed for run in runs})), runs[0].settings)


def groups(runs: Iterable[StoredRun]) -> list[list[StoredRun]]:
    """Runs by what they were made with."""
    by: dict[tuple[str, ...], list[StoredRun]] = {}
    for run in runs:
        by.setdefault(run.made_with, []).append(run)
    return [*by.values()]


def choose(
    words: Sequence[str], results: Path, planned: Plan | None, fixed: bool = False, anew: bool = False
) -> list[Chosen]:
    """The runs that words name (`naming`, or the path of a run's folder), by the plans they stand in.

    planned: what the user's options ask for; its scale alone is then looked at. None: words mean runs that
    exist, and then those of the default scale. fixed: the options say more than a scale, so that rows and
    tables are those of `planned`. anew: they are what is to be trained, with all that it needs.
    """
    if planned and all(word in planned.runs for word in words):
        return [of_plan(planned, words, results)]
    there = list(stored_runs(results, planned.scale.name if planned else None))
    tables, plan = load_tables(), planned
    runs: dict[tuple[str, ...], list[StoredRun]] = {}
    ids: list[str] = []
    for word in words:
        if hits := [] if is_row(word, tables) and (fixed or anew) else _existing(word, there, planned, fixed):
            for hit in hits:
                runs.setdefault(hit.made_with, []).append(hit)
            continue
        plan = plan or make_plan(DEFAULT)
        if is_row(word, tables):
            shown = row_runs(plan, word)
            ids += plan.with_needed(shown) if anew else shown
        elif id := by_id(word, plan.runs):
            ids.append(id)
        else:
            names = nearest_first(word, [*(run.id for run in there), *tables, *plan.runs]).split(", ")
            raise WsisError(
                f"no run {word} at scale {plan.scale.name} with these seeds (the nearest are:"
                f" {', '.join(names[:4])}); see `wsis runs` and `wsis plan`"
            )
    chosen = [of_plan(plan, ids, results)] if plan and ids else []
    return [_chosen(group) for group in runs.values()] + chosen


def of_plan(plan: Plan, ids: Sequence[str], results: Path) -> Chosen:
    """Runs of a plan, with the roots that the first of them that exists was trained with."""
    folders = (results / plan.scale.name / "runs" / id for id in ids)
    roots = next((roots for folder in folders if (roots := roots_of(folder))), None)
    return Chosen(plan, list(dict.fromkeys(ids)), results, roots)


def _existing(word: str, there: list[StoredRun], planned: Plan | None, fixed: bool) -> list[StoredRun]:
    """Those of the runs `there`, or the one in a folder, that a word means; [] where it means none."""
    if is_row(word, load_tables()):
        return _of_row(word, there, planned)
    if (Path(word) / "recipe.json").is_file():
        return [stored_run(Path(os.path.abspath(word)))]
    if fixed and planned and word in planned.runs:
        return []
    fits = {run.id: run for run in there}
    id = by_id(word, fits)
    return [fits[id]] if id else []


def _of_row(word: str, there: list[StoredRun], planned: Plan | None) -> list[StoredRun]:
    """The runs of a row or table: those of the plan that is asked for, or else the only ones there are.

    WsisError where there are runs of several other plans.
    """
    seed = row_of(load_tables(), word)[2]
    hits = []
    for group in groups(run for run in there if run.scale != FIT and seed in (None, run.seed)):
        try:
            ids = {*row_runs(plan_of(group), word)}
        except WsisError:
            continue  # not at its scale
        if its := [run for run in group if run.id in ids]:
            hits.append(its)
    same = [its for its in hits if planned and its[0].settings == planned.overrides]
    if len(hits) > 1 and len(same) != 1:
        made = "; ".join(
            f"{its[0].id} at {its[0].scale} with {its[0].settings or 'no settings'}" for its in hits
        )
        raise WsisError(f"{word}: runs of several plans ({made}): give --scale and --set, or name them by id")
    return next(iter(same or hits), [])


def _chosen(runs: list[StoredRun]) -> Chosen:
    plan = plan_of(runs)
    for run in runs:
        if run.id not in plan.runs:
            raise WsisError(
                f"{run.folder}: no row of scale {run.scale} has this recipe now, with"
                f" {run.settings or 'no settings'}; give those that it was trained with (--scale, --set)"
            )
    return Chosen(plan, list(dict.fromkeys(run.id for run in runs)), runs[0].results, runs[0].roots)
