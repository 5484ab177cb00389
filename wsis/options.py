"""Options that several commands of the command line share, and the plan that they ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsis.configuration import entries, seeds_of

if TYPE_CHECKING:
    from wsis.plan import Plan

ScaleOption = Annotated[str, typer.Option("--scale", "-s", help="smoke, tiny, mini or paper")]
SeedsOption = Annotated[str | None, typer.Option(help="e.g. 11,12,13; default: the scale's own")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="recipe.key=value, for every run")]
RootOption = Annotated[
    str | None, typer.Option("--data-root", help="PATH of the images (mini, paper), or coco=PATH,voc=PATH")
]
ResultsOption = Annotated[Path, typer.Option(help="where runs are written")]
ReportsOption = Annotated[Path, typer.Option(help="where reports are written")]
AcceleratorOption = Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda if there is one")]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
RESULTS, REPORTS = Path("results"), Path("reports")


def planned(scale: str, seeds: str | None, overrides: list[str] | None) -> Plan:
    """The plan of --scale, --seeds and --set; WsisError for what it refuses."""
    from wsis.bench.calibrate import known_unit
    from wsis.plan import make_plan

    chosen = seeds_of(seeds, f"--seeds {seeds}") if seeds is not None else None
    given = entries(overrides or [], "--set {}: expected recipe.key=value")
    return make_plan(scale, chosen, given, unit=known_unit(RESULTS))
