"""`wsis measure` and `wsis pictures`: what trained runs do, in numbers and in sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wsis.errors import WsisError
from wsis.options import (
    RESULTS,
    AcceleratorOption,
    OfRunOption,
    ResultsOption,
    RootOption,
    RunsArgument,
    SeedsOption,
    SetOption,
    SinceOption,
    chosen,
    planned,
)

if TYPE_CHECKING:
    from wsis.results.runs import Chosen

measure_app = typer.Typer()


@measure_app.command()
def measure(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="sets of measures, tables, rows, ids of what is measured; default: all"),
    ] = None,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
    since: SinceOption = None,
) -> None:
    """Measures of tables and figures: of trained runs, of images or of networks; nothing is trained."""
    from wsis.flow.jobs import measure as measure_all

    for group, asked in measured(words or [], results, scale, seeds, set_):
        roots = data_root or group.roots
        measure_all(group.plan, asked, group.results, roots, accelerator, since)


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


@measure_app.command()
def pictures(
    words: RunsArgument,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Sheets of pictures that show what trained runs do, after the papers' figures."""
    from wsis.flow.picture_jobs import picture_runs

    for group in chosen(words, results, scale, seeds, set_):
        for path in picture_runs(group.plan, group.ids, group.results, data_root or group.roots):
            print(path)
