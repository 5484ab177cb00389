"""`wsis plan` and `wsis reproduce`: what there is to run, and all of it in its order."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wsis.configuration import split
from wsis.options import (
    RESULTS,
    CostsOption,
    JsonOption,
    ResultsOption,
    ScaleOption,
    SeedsOption,
    SetOption,
    planned,
)

plan_app = typer.Typer()


@plan_app.command()
def plan(
    words: Annotated[
        list[str] | None, typer.Argument(help="tables, papers or other targets; default: all there is")
    ] = None,
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    costs: CostsOption = None,
    decide: Annotated[
        str | None,
        typer.Option(help="a claim ('<paper>/<table> <id>', or its id): what would decide it"),
    ] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """What there is to run: runs, the rows each serves, parents, time by table and disk.

    With --decide: how many seeds would decide an inconclusive claim, what they cost, and the command. The
    noise is that of the runs in RESULTS, or of the reference run where nothing was run.
    """
    from wsis.flow.show import plan_as_json, show_plan
    from wsis.flow.work import named_tables

    asked = planned(scale, seeds, set_, costs)
    if decide is not None:
        from wsis.flow.decide import show_decision

        return show_decision(asked, results, decide, as_json)
    tables = named_tables(asked, words or ["all"])
    print(json.dumps(plan_as_json(asked, tables), indent=1)) if as_json else show_plan(asked, tables)


@plan_app.command()
def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="targets (<paper>_<table>, <paper>, all) and key=value of the configuration"),
    ] = None,
    scale: ScaleOption = "tiny",
    cores: Annotated[int | None, typer.Option(help="default: all that this process may use")] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="key=value, e.g. seeds=[31]; several with blanks")
    ] = None,
) -> None:
    """Train, evaluate and render targets (default: the headline tables): a line for every finished row."""
    from wsis.flow.estimate import core_count
    from wsis.flow.reproduce import reproduce as follow

    entries = [entry for text in config or [] for entry in split(text)]
    entries += [word for word in words or [] if "=" in word]
    names = [word for word in words or [] if "=" not in word]
    raise typer.Exit(follow(names, scale, cores or core_count(), entries, RESULTS))
