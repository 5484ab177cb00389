"""`wsis tables`, `show` and `runs`: what is declared, and what was run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wsis.options import (
    RESULTS,
    JsonOption,
    OfRunOption,
    ResultsOption,
    ScaleOption,
    SeedsOption,
    SetOption,
    chosen,
    planned,
)

show_app = typer.Typer()


@show_app.command()
def tables(
    scale: ScaleOption = "paper",
    as_json: JsonOption = False,
) -> None:
    """Every declared table with its rows, recipes and published values."""
    from wsis.flow.show import show_tables, tables_as_json

    asked = planned(scale, None, None)
    print(json.dumps(tables_as_json(asked), indent=1)) if as_json else show_tables(asked)


@show_app.command()
def show(
    what: Annotated[str, typer.Argument(help="a table, or a run: its id, its folder or 'TABLE:ROW@SEED'")],
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """One table as declared, or one run's whole recipe and how it deviates from the paper's."""
    from wsis.declare.load import load_tables
    from wsis.flow.show import show_run, show_table
    from wsis.results.naming import table_of

    if key := table_of(what, load_tables()):
        return show_table(planned(scale or "tiny", seeds, set_), key)
    for group in chosen([what], results, scale, seeds, set_):
        for id in group.ids:
            show_run(group.plan.runs[id])


@show_app.command("runs")
def list_runs(
    words: Annotated[list[str] | None, typer.Argument(help="as in other commands; default: all")] = None,
    scale: Annotated[str | None, typer.Option("--scale", "-s", help="default: every scale")] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """The runs that exist: what rows they serve, how far they are, and their main metrics."""
    from wsis.flow.listing import listed, show_runs

    runs = listed(words or [], results, scale)
    print(json.dumps(runs, indent=1)) if as_json else show_runs(runs)
