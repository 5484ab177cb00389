"""Options that several commands of the command line share, and the plan that they ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsis.configuration import entries, seeds_of
from wsis.errors import WsisError

if TYPE_CHECKING:
    from wsis.plan import Plan
    from wsis.results.runs import Chosen

ScaleOption = Annotated[str, typer.Option("--scale", "-s", help="smoke, tiny, mini or paper")]
OfRunOption = Annotated[
    str | None, typer.Option("--scale", "-s", help="default: that of runs that exist, else tiny")
]
RUNS = typer.Argument(help="ids or what they begin with, folders, TABLE, 'TABLE:ROW', 'TABLE:ROW@SEED'")
RunsArgument = Annotated[list[str], RUNS]
MaybeRunsArgument = Annotated[list[str] | None, RUNS]
SeedsOption = Annotated[str | None, typer.Option(help="e.g. 11,12,13; default: the scale's own")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="recipe.key=value, for every run")]
RootOption = Annotated[
    str | None,
    typer.Option(
        "--data-root", help="PATH of images, coco=PATH,voc=PATH, or {coco: PATH}; default: the runs' own"
    ),
]
ResultsOption = Annotated[Path, typer.Option(help="where runs are written")]
ReportsOption = Annotated[Path, typer.Option(help="where reports are written")]
AcceleratorOption = Annotated[
    str | None,
    typer.Option(envvar="WSIS_ACCELERATOR", help="cpu or cuda; default: cuda if there is one"),
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
CostsOption = Annotated[
    Path | None,
    typer.Option("--costs", help="what wsis bench step measured; default: results/<scale>/costs.json"),
]
RESULTS, REPORTS = Path("results"), Path("reports")


def planned(scale: str, seeds: str | None, overrides: list[str] | None, costs: Path | None = None) -> Plan:
    """The plan of --scale, --seeds, --set and --costs; WsisError for what it refuses."""
    from wsis.bench.calibrate import known_unit
    from wsis.declare.measured import measured_costs
    from wsis.plan import make_plan

    chosen = seeds_of(seeds, f"--seeds {seeds}") if seeds is not None else None
    given = entries(overrides or [], "--set {}: expected recipe.key=value")
    measured = measured_costs(RESULTS, scale, costs)
    return make_plan(scale, chosen, given, unit=known_unit(RESULTS), measured=measured)


def chosen(
    words: Sequence[str],
    results: Path,
    scale: str | None,
    seeds: str | None,
    overrides: list[str] | None,
    anew: bool = False,
) -> list[Chosen]:
    """The runs that words name, by plans (`wsis.results.runs.choose`). The options may all be None."""
    from wsis.results.runs import DEFAULT, choose

    fixed = bool(seeds or overrides)
    plan = planned(scale or DEFAULT, seeds, overrides) if scale or fixed else None
    return choose(words, results, plan, fixed, anew)


def measured(
    words: Sequence[str], results: Path, scale: str | None, seeds: str | None, overrides: list[str] | None
) -> list[tuple[Chosen, list[str]]]:
    """What words of `wsis measure` mean, by plans: sets, tables and keys, runs' names among them.

    A word that is no run's name is left for the measures, which have keys of their own.
    """
    from wsis.measures.registry import sets
    from wsis.measures.wanted import wanted
    from wsis.results.naming import table_of
    from wsis.results.runs import DEFAULT, choose, of_plan

    fixed = bool(seeds or overrides)
    plan, given = planned(scale or DEFAULT, seeds, overrides), bool(scale) or fixed
    keys = [table_of(word, plan.tables) or word for word in words]
    common = [key for key in keys if key in sets() or (given and key in plan.tables)]
    known = {key for cases in wanted(plan, plan.tables).values() for key in cases}
    keyed = [key for key in keys if key in known]
    groups: list[tuple[Chosen, list[str]]] = []
    for word in (key for key in keys if key not in common and key not in keyed):
        try:
            for each in choose([word], results, plan if given else None, fixed):
                groups.append((each, [*common, *([word] if word in plan.tables else each.ids)]))
        except WsisError:
            if ":" in word or word in plan.tables:
                raise
            keyed.append(word)
    if keyed or not groups:
        groups.append((of_plan(plan, keyed, results), [*common, *keyed]))
    return groups
