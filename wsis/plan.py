"""The run graph: tables x scale x seeds -> deduplicated runs, their parents, jobs and cost. No torch here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.declare.deviations import differences, known
from wsis.declare.load import ROOT, DeclarationError, load_tables
from wsis.declare.measured import Measured
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import Resolved, published_recipe, resolve, with_seed
from wsis.declare.scale import Scale, load_scale
from wsis.declare.settings import check_settings
from wsis.declare.table import Table
from wsis.errors import WsisError, nearest_first
from wsis.methods import info_of
from wsis.nn.backbones import BACKBONES, giving
from wsis.packing import Job, pack

CLASS_AGNOSTIC = frozenset({"mIoU", "IoU50", "IoU75"})  # metrics of masks made for given boxes


@dataclass
class Run:
    """A recipe to be executed once, and the rows it serves."""

    id: str
    recipe: Recipe
    published: Recipe
    rows: list[tuple[str, str]] = field(default_factory=list)  # (table key, row label)
    device_hours: float = 0.0  # device-hours of the scale's device, or CPU hours of this machine
    disk_gb: float = 0.0
    ancestors: tuple[Recipe, ...] = ()
    alone: bool = False  # it stands in no table and is wanted for itself

    @property
    def seed(self) -> int:
        return self.recipe.seed

    @property
    def iterations(self) -> int:
        """Steps that the run itself trains, without those of a warm-up that it continues."""
        init = self.recipe.init
        return self.recipe.schedule.end - ((init and init.iteration) or 0)

    @property
    def parent(self) -> str | None:
        return self.recipe.init.parent if self.recipe.init else None

    @property
    def needs(self) -> tuple[str, ...]:
        """Runs that must be finished first: whose weights it starts from, whose masks it learns."""
        proxies = self.recipe.proxy.parent if self.recipe.proxy else None
        return tuple(run for run in (self.parent, proxies) if run)

    @property
    def differences(self) -> tuple[str, ...]:
        """What its recipe has otherwise than the declared one."""
        return differences(self.published, self.recipe, self.ancestors)

    @property
    def deviations(self) -> tuple[str, ...]:
        """What it has otherwise than the papers' training, as far as it is known before it runs."""
        return (*self.differences, *known(self.recipe))


@dataclass
class Plan:
    scale: Scale
    seeds: tuple[int, ...]
    tables: dict[str, Table]
    runs: dict[str, Run] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    asked: bool = False  # the user chose the seeds
    root: Path = ROOT
    overrides: dict[str, Any] = field(default_factory=dict)
    unit: float | None = None  # CPU seconds of a unit of cost on this machine, None where it isn't measured
    _cells: dict[tuple[str, str], dict[int, str]] = field(default_factory=dict)
    _reasons: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def unit_seconds(self) -> float:
        """Seconds of what the scale's costs are counted in: a unit, or a second of its device."""
        return self.unit or self.scale.cost.unit or 1.0

    def seeds_of(self, paper: str) -> tuple[int, ...]:
        """The seeds of a paper's rows: the scale's (which may have some for a paper alone), or the user's."""
        return self.seeds if self.asked else self.scale.seeds_for.get(paper, self.scale.seeds)

    def row_runs(self, table: str, label: str) -> dict[int, str]:
        """Seed -> run id of a row; empty when it is quoted, missing or not at this scale."""
        return self._cells.get((table, label), {})

    def row_reason(self, table: str, label: str) -> str | None:
        """Why a row has no run, None when it has."""
        return self._reasons.get((table, label))

    def protocols(self, run: str) -> list[str]:
        """The evaluation protocols of the rows that a run serves, sorted; two at small scales (COCO, VOC)."""
        protocols = set()
        for key, label in self.runs[run].rows:
            table = self.tables[key]
            protocol = table.row(label).protocol or table.protocol
            protocols |= {protocol_of(metric, protocol) for metric in table.columns}
        if info_of(self.runs[run].recipe.method).fills_boxes:
            return ["class-agnostic"]
        return sorted(protocols - {"class-agnostic"}) or ["coco"]

    def measured_by(self, run: str, metric: str) -> str:
        """The run whose metrics.json holds `metric` of a row that `run` serves.

        It is `run` itself, but for class-agnostic metrics of a second stage: the first stage has those.
        """
        proxy = self.runs[run].recipe.proxy
        return proxy.parent if proxy and metric in CLASS_AGNOSTIC else run

    @property
    def proxied(self) -> set[str]:
        """Runs whose masks of the training images another run learns from."""
        return {run.recipe.proxy.parent for run in self.runs.values() if run.recipe.proxy}

    def predicts(self, run: str) -> bool:
        """Whether a run's predictions are used: they are shown, or another run learns from its masks."""
        return bool(self.runs[run].rows) or self.runs[run].alone or run in self.proxied

    def with_needed(self, ids: Iterable[str]) -> list[str]:
        """These runs and all that they need, what is needed first."""
        ordered: dict[str, None] = {}

        def add(run: str) -> None:
            for needed in self.runs[run].needs:
                add(needed)
            ordered.setdefault(run)

        for run in ids:
            add(run)
        return list(ordered)

    def check_known(self, ids: Iterable[str]) -> None:
        """Raise WsisError for ids of runs that are not in the plan."""
        if unknown := ", ".join(run for run in ids if run not in self.runs):
            raise WsisError(f"no run {unknown} at scale {self.scale.name} with these seeds; see `wsis plan`")

    def recipe_id(self, table: str, label: str) -> str | None:
        """Id of the recipe that the paper ran for a trained row, also where it can't run here."""
        row = self.tables[table].row(label)
        return None if row.kind == "quote" else published_recipe(self.tables[table], row, self.root).id

    def shown(self, tables: Iterable[str]) -> dict[str, tuple[str, str, int]]:
        """Run -> (table, row, seed) of the first cell that shows it.

        The cells are those of these tables, then those that their claims read, also in other tables.
        """
        cells = [
            (key, row.label, metric)
            for key in tables
            for row in self.tables[key].rows
            for metric in self.tables[key].columns
        ]
        cells += [
            (cell.table or key, cell.row, cell.metric or claim.metric)
            for key in tables
            for claim in self.tables[key].claims
            for cell in claim.cells
        ]
        places: dict[str, tuple[str, str, int]] = {}
        for key, label, metric in cells:
            for seed, run in self.row_runs(key, label).items():
                places.setdefault(self.measured_by(run, metric), (key, label, seed))
        return places

    def wanted(self, tables: Iterable[str]) -> list[str]:
        """Ids of the runs that these tables show."""
        return list(self.shown(tables))


def make_plan(
    scale: str,
    seeds: tuple[int, ...] | None = None,
    overrides: dict[str, Any] | None = None,
    root: Path = ROOT,
    unit: float | None = None,
    measured: Measured | None = None,
) -> Plan:
    """Resolve every trained row at `scale`.

    seeds: null for the scale's own, which may differ by paper. overrides: dotted recipe keys laid on every
    recipe, e.g. {"model.weights": "none"}. unit: CPU seconds of a unit of cost (wsis.bench.calibrate); null
    for the scale's nominal ones. measured: what an image costs on a machine, at scales on real images.
    Raises DeclarationError for what can't be resolved, or has no cost.
    """
    declared = load_scale(scale, root)
    declared = declared.model_copy(update={"cost": declared.cost.on(measured)})
    check_settings(overrides or {})
    plan = Plan(
        declared,
        tuple(seeds or dict.fromkeys(sum(declared.seeds_for.values(), declared.seeds))),
        load_tables(root),
        asked=bool(seeds),
        root=root,
        overrides=dict(overrides or {}),
        unit=unit,
    )
    for table in plan.tables.values():
        for row in table.rows:
            cell = (table.key, row.label)
            if row.kind == "quote":
                plan._reasons[cell] = "quoted"
                continue
            seeds = plan.seeds_of(table.paper)
            first = resolve(table, row, declared, seeds[0], overrides, root)
            missing = missing_part(first.recipe or first.published)
            if first.recipe is None or missing:
                plan._reasons[cell] = missing or first.reason
                continue
            for resolved in (first, *(with_seed(first, seed) for seed in seeds[1:])):
                for recipe in (*resolved.ancestors, resolved.recipe):
                    if recipe.id not in plan.runs:
                        check_norm(recipe, f"{table.key} '{row.label}'")
                        plan.runs[recipe.id] = _run(recipe, resolved, plan)
                run = plan.runs[resolved.recipe.id]
                if not run.rows:  # it may have been planned for a row that starts from it
                    run.published = resolved.declared.get(run.id, resolved.published)
                run.rows.append(cell)
                plan._cells.setdefault(cell, {})[resolved.recipe.seed] = resolved.recipe.id
    plan.jobs = pack(plan)
    return plan


def protocol_of(metric: str, protocol: str) -> str:
    """The protocol that a metric of a table of `protocol` is measured by.

    VOC's has no AP over several thresholds: BoxCaseg's Table 7 has COCO's there (erratum voc-evaluation).
    """
    if metric in CLASS_AGNOSTIC:
        return "class-agnostic"
    return "coco" if protocol == "voc" and metric in ("AP", "APS", "APM", "APL") else protocol


def missing_part(recipe: Recipe) -> str | None:
    """The first part of a recipe that wsis doesn't have yet, as a sentence; None when it has all."""
    info, model = info_of(recipe.method), recipe.model
    if model.backbone != "none" and not BACKBONES[model.backbone].build:
        return f"backbone {model.backbone} does not exist yet"
    if info.baseline and model.head != "none":
        return f"method {info.name} has no detector (its masks in detected boxes: predict.masks)"
    if info.features and model.backbone not in (there := giving(info.features)):
        names = nearest_first(model.backbone, there)
        return f"backbone {model.backbone} has no features for method {info.name} (these have: {names})"
    return None


def check_norm(recipe: Recipe, where: str) -> None:
    """Raise DeclarationError, beginning with `where`, for frozen batch norm in a network without weights.

    Its statistics are then 0 and 1 for ever, and activations grow from layer to layer.
    """
    model = recipe.model
    random = model.weights == "none" and model.backbone != "none" and recipe.init is None
    if random and model.norm == "frozen":
        raise DeclarationError(
            f"{where}: model.weights 'none' with model.norm 'frozen': nothing has trained what is frozen;"
            " set model.norm to batch, or give weights"
        )


def _run(recipe: Recipe, resolved: Resolved, plan: Plan) -> Run:
    published = resolved.declared.get(recipe.id, resolved.published)
    run = Run(recipe.id, recipe, published, ancestors=resolved.ancestors)
    cost, images = plan.scale.cost, run.iterations * recipe.schedule.batch
    run.device_hours = cost.of_run(recipe, images) * plan.unit_seconds / 3600
    run.disk_gb = cost.disk(recipe) / 1024
    return run
