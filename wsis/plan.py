"""The run graph: tables x scale x seeds -> deduplicated runs, their parents, jobs and cost. No torch here."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.declare.load import ROOT, DeclarationError, load_tables
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import Resolved, deviations, published_recipe, resolve
from wsis.declare.scale import Scale, load_scale
from wsis.declare.table import Table

METHODS = frozenset({"condinst", "boxinst", "sim"})
BACKBONES = frozenset({"tiny", "resnet50", "resnet101"})
NECKS = frozenset({"fpn"})
HEADS = frozenset({"condinst"})


@dataclass
class Run:
    """A recipe to be executed once, and the rows it serves."""

    id: str
    recipe: Recipe
    published: Recipe
    rows: list[tuple[str, str]] = field(default_factory=list)  # (table key, row label)
    device_hours: float = 0.0  # device-hours of the scale's device
    disk_gb: float = 0.0
    ancestors: tuple[Recipe, ...] = ()

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def iterations(self) -> int:
        """Steps that the run itself trains, without those of a warm-up that it continues."""
        return _iterations(self.recipe)

    @property
    def parent(self) -> str | None:
        return self.recipe.init.parent if self.recipe.init else None

    @property
    def deviations(self) -> tuple[str, ...]:
        return deviations(self.published, self.recipe, self.ancestors)


@dataclass(frozen=True)
class Job:
    """Runs that one process trains in this order; `needs` are parents that other jobs train."""

    id: str
    runs: tuple[str, ...]
    needs: tuple[str, ...]
    data: str | None  # folder name of the generated data root, None for a root of the user's


@dataclass
class Plan:
    scale: Scale
    seeds: tuple[int, ...]
    tables: dict[str, Table]
    runs: dict[str, Run] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    root: Path = ROOT
    overrides: dict[str, Any] = field(default_factory=dict)
    _cells: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)

    def row_runs(self, table: str, label: str) -> dict[int, str]:
        """Seed -> run id of a row; empty when it is quoted, missing or not at this scale."""
        return self._cells.get((table, label), {})

    def row_reason(self, table: str, label: str) -> str | None:
        """Why a row has no run, None when it has."""
        return self._reasons.get((table, label))

    def protocol(self, run: str) -> str:
        """The evaluation protocol of the rows that a run serves. Raises DeclarationError for two of them."""
        found = set()
        for key, label in self.runs[run].rows:
            found.add(self.tables[key].row(label).protocol or self.tables[key].protocol)
        if len(found) > 1:
            raise DeclarationError(f"{run} serves rows of several protocols: {', '.join(sorted(found))}")
        return found.pop() if found else "coco"

    def recipe_id(self, table: str, label: str) -> str | None:
        """Id of the recipe that the paper ran for a trained row, also where it can't run here."""
        row = self.tables[table].row(label)
        return None if row.kind == "quote" else published_recipe(self.tables[table], row, self.root).id

    def wanted(self, tables: list[str]) -> list[str]:
        """Ids of the available runs that these tables' rows show."""
        rows = [(key, row.label) for key in tables for row in self.tables[key].rows]
        ids = (run for cell in rows for run in self.row_runs(*cell).values())
        return list(dict.fromkeys(ids))


def make_plan(
    scale: str,
    seeds: tuple[int, ...] | None = None,
    overrides: dict[str, Any] | None = None,
    root: Path = ROOT,
) -> Plan:
    """Resolve every trained row at `scale`.

    seeds: null for the scale's own. overrides: dotted recipe keys laid on every recipe, e.g.
    {"model.weights": "none"}. Raises DeclarationError for anything that can't be resolved.
    """
    declared = load_scale(scale, root)
    plan = Plan(
        declared,
        tuple(seeds or declared.seeds),
        load_tables(root),
        root=root,
        overrides=dict(overrides or {}),
    )
    for table in plan.tables.values():
        for row in table.rows:
            cell = (table.key, row.label)
            if row.kind == "quote":
                plan._reasons[cell] = "quoted"
                continue
            for seed in plan.seeds:
                resolved = resolve(table, row, declared, seed, overrides, root)
                missing = missing_part(resolved.recipe or resolved.published)
                if resolved.recipe is None or missing:
                    plan._reasons[cell] = missing or resolved.reason
                    break
                for recipe in (*resolved.ancestors, resolved.recipe):
                    if recipe.id not in plan.runs:
                        plan.runs[recipe.id] = _run(recipe, resolved, declared)
                plan.runs[resolved.recipe.id].rows.append(cell)
                plan._cells.setdefault(cell, {})[seed] = resolved.recipe.id
    plan.jobs = _jobs(plan)
    return plan


def missing_part(recipe: Recipe) -> str | None:
    """The first part of a recipe that wsis doesn't have yet, as a sentence; None when it has all."""
    parts = [
        ("method", recipe.method, METHODS),
        ("backbone", recipe.model.backbone, BACKBONES),
        ("neck", recipe.model.neck, NECKS),
        ("head", recipe.model.head, HEADS),
    ]
    for kind, name, there in parts:
        if name not in there:
            return f"{kind} {name} does not exist yet"
    return None


def shapes_root(recipe: Recipe) -> str | None:
    """Folder name of the generated data root that `recipe` trains on; None for other data sets."""
    if recipe.data.dataset != "shapes":
        return None
    identity = f"{recipe.data.shapes.model_dump_json()} {recipe.seed}"
    return f"shapes-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"


def _iterations(recipe: Recipe) -> int:
    return recipe.schedule.end - ((recipe.init.iteration or 0) if recipe.init else 0)


def _run(recipe: Recipe, resolved: Resolved, scale: Scale) -> Run:
    seconds = scale.cost.seconds_per_image.get(recipe.model.backbone, 0.0)
    seconds *= scale.cost.methods.get(recipe.method, 1.0)
    hours = _iterations(recipe) * recipe.schedule.batch * seconds / 3600
    return Run(
        recipe.id,
        recipe,
        resolved.published,
        device_hours=hours,
        disk_gb=scale.cost.megabytes.get(recipe.model.backbone, 0.0) / 1024,
        ancestors=resolved.ancestors,
    )


def _jobs(plan: Plan) -> list[Job]:
    """Runs of one family (a warm-up and what forks from it) share processes, `runs_per_job` at most each."""
    families: dict[str, list[str]] = {}
    for run in plan.runs.values():  # parents come before their children
        ancestor = run
        while ancestor.parent:
            if ancestor.parent not in plan.runs:
                raise DeclarationError(f"{ancestor.id}: no recipe has the id of its parent {ancestor.parent}")
            ancestor = plan.runs[ancestor.parent]
        families.setdefault(ancestor.id, []).append(run.id)
    jobs = []
    size = plan.scale.runs_per_job
    for family in families.values():
        for start in range(0, len(family), size):
            runs = tuple(family[start : start + size])
            parents = {plan.runs[run].parent for run in runs} - {None, *runs}
            name = f"{runs[0]}-{len(runs)}" if len(runs) > 1 else runs[0]
            jobs.append(Job(name, runs, tuple(sorted(parents)), shapes_root(plan.runs[runs[0]].recipe)))
    return jobs
