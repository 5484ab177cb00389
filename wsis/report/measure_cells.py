"""The cells of measures of ours: which file a row's value stands in, and why there is none."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from wsis.declare.table import BOUNDARY_MEASURES, PSEUDO_MEASURES, Table
from wsis.measures.words import NO_BOUNDARY, NO_MASKS, NO_PROXIES, NO_WARMUP, readable
from wsis.methods.boxcaseg.measures import rules_of
from wsis.plan import Plan, Run
from wsis.report.model import CellResult

if TYPE_CHECKING:
    from wsis.report.results import Results


def measure_cell(table: Table, metric: str, runs: dict[int, str], plan: Plan, found: Results) -> CellResult:
    """A measure of a row whose runs are `runs`, by seed."""
    if metric in BOUNDARY_MEASURES:
        cell = _boundary_cell
    else:
        cell = _pseudo_cell if metric in PSEUDO_MEASURES else _proxy_cell
    return cell(table, metric, runs, plan, found)


def measuring(plan: Plan, command: str, run: str) -> str:
    """The command line that measures with the weights of `run`, whether that was done before or not."""
    words = ["wsis", command, run, "--scale", plan.scale.name]
    if plan.asked:
        words += ["--seeds", ",".join(map(str, plan.seeds))]
    if plan.scale.data == "root":
        words += ["--data-root", "PATH"]
    for key, value in plan.overrides.items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return shlex.join(words)


def _pseudo_cell(table: Table, metric: str, runs: dict[int, str], plan: Plan, found: Results) -> CellResult:
    """Of the masks that a row's settings make with the checkpoint that its runs continue."""
    recipes = [plan.runs[run].recipe for run in runs.values()]
    if not all(recipe.sim and recipe.sim.labels for recipe in recipes):
        return CellResult(reason=NO_MASKS)
    warmups = {seed: _warmup(plan.runs[run]) for seed, run in sorted(runs.items())}
    if None in warmups.values():
        return CellResult(reason=NO_WARMUP)
    values = {seed: found.pseudo.value(warmup, runs[seed], metric) for seed, warmup in warmups.items()}
    cell = _filled(table, metric, runs, values, warmups, found, found.pseudo.problem, "pseudo")
    cell.stale = any(found.stale_masks(warmups[seed]) for seed in cell.values)
    return cell


def _warmup(run: Run) -> str | None:
    """The run whose checkpoint makes this run's first pseudo masks; None where it continues no training."""
    init = run.recipe.init
    return init.parent if init and init.iteration is not None else None


def _proxy_cell(table: Table, metric: str, runs: dict[int, str], plan: Plan, found: Results) -> CellResult:
    """Of the masks that a row's Mask R-CNN learns from, as its own rules leave them, or of a baseline's."""
    specs = {seed: rules_of(plan.runs[run].recipe) for seed, run in sorted(runs.items())}
    if None in specs.values():
        return CellResult(reason=NO_PROXIES)
    parents = {seed: spec.parent for seed, spec in specs.items()}
    values = {seed: found.proxies.value(spec, metric) for seed, spec in specs.items()}
    problem = partial(found.proxies.problem, metric=metric)
    cell = _filled(table, metric, runs, values, parents, found, problem, "proxy-quality")
    cell.stale = any(found.stale_proxies(parents[seed]) for seed in cell.values)
    return cell


def _boundary_cell(table: Table, metric: str, runs: dict[int, str], plan: Plan, found: Results) -> CellResult:
    """Of the maps and instances of a row's own runs; what a Mask R-CNN has learnt from them has no map."""
    specs = [plan.runs[run].recipe.baiseg for run in runs.values()]
    if None in specs or (metric != "split" and any(spec.boundary == "none" for spec in specs)):
        return CellResult(reason=NO_BOUNDARY)
    runs = dict(sorted(runs.items()))
    values = {seed: found.boundaries.value(run, metric) for seed, run in runs.items()}
    cell = _filled(table, metric, runs, values, runs, found, found.boundaries.problem, "boundary-quality")
    cell.stale = any(found.stale_boundaries(runs[seed]) for seed in cell.values)
    return cell


def _filled(
    table: Table,
    metric: str,
    runs: dict[int, str],
    values: Mapping[int, float | None],
    parents: Mapping[int, str],
    found: Results,
    problem: Callable,
    command: str,
) -> CellResult:
    """The cell of what was measured (NaN: undefined, None: not yet) with the weights of `parents`."""
    cell, problems = CellResult(runs=dict(runs)), []
    for seed, parent in parents.items():
        if (value := values[seed]) is None:
            continue
        if wrong := problem(parent, found.train.get(parent, {}).get("data")):
            problems.append(f"{wrong}; to measure again: {measuring(found.plan, command, parent)}")
        elif not math.isfinite(value):
            problems.append(f"{readable(metric)} is undefined on this data")
        else:
            cell.values[seed] = value
    if not cell.values:
        cell.reason = problems[0] if problems else f"not run: {found.command(table.key)}"
    return cell
