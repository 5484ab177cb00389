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
RunDeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps; default: cuda if there is one")
]
PredictOnlyOption = Annotated[bool, typer.Option(help="nothing is to be evaluated: val needs no masks")]
SinceOption = Annotated[
    Path | None,
    typer.Option("--since", exists=True, help="leave what was made after this FILE was written as it is"),
]
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


def run_folders(word: str, results: Path) -> list[Path]:
    """The folders of the runs that `word` names: a path wherever it lies, or a name (`runs.choose`)."""
    if (Path(word) / "recipe.json").exists():
        return [Path(word)]
    return [folder for group in chosen([word], results, None, None, None) for folder in group.folders]


def run_folder(word: str, results: Path) -> Path:
    """The folder of the one run that `word` names. WsisError where there are several."""
    folders = run_folders(word, results)
    if len(folders) > 1:
        raise WsisError(f"{word}: names several runs, give one: {', '.join(map(str, folders))}")
    return folders[0]
