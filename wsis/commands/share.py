"""`wsis share`, `wsis merge`: results from one machine to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsis.options import REPORTS, RESULTS, ReportsOption, ResultsOption, ScaleOption

share_app = typer.Typer()


@share_app.command()
def share(
    scale: ScaleOption = "tiny",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="default: <scale>.tar.gz")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="also the networks")] = False,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="also the predicted masks, which a report draws")
    ] = False,
    results: ResultsOption = RESULTS,
    reports: ReportsOption = REPORTS,
) -> None:
    """Pack a scale's finished runs, measurements and report into one archive, which `wsis merge` reads.

    Of a run: recipe, log, environment, metrics, card, pictures. They name the folders of the images and the
    command that was called. The same files give the same bytes.
    """
    from wsis.results.share import share as pack

    print(pack(scale, results, reports, out or Path(f"{scale}.tar.gz"), weights, predictions))


@share_app.command()
def merge(
    archives: Annotated[list[Path], typer.Argument(help="of `wsis share`")],
    differing: Annotated[
        str,
        typer.Option(help="results of another content than those here: refuse, keep (ours), take (theirs)"),
    ] = "refuse",
    results: ResultsOption = RESULTS,
) -> None:
    """Add the runs and measurements of archives to the results here; `wsis report` then shows all of them.

    A run that is here with the same recipe, weights and numbers stays. Nothing changes where an archive is
    refused.
    """
    from wsis.results.merge import DIFFERING, told
    from wsis.results.merge import merge as add

    if differing not in DIFFERING:
        raise typer.BadParameter(f"'{differing}' is none of {', '.join(DIFFERING)}", param_hint="--differing")
    for merged in add(archives, results, differing):
        print("\n".join(told(merged)))
