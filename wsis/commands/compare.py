"""`wsis compare`: two runs on the same images, with an interval of the difference."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from wsis.options import RESULTS, JsonOption, ResultsOption, run_folders

compare_app = typer.Typer()


@compare_app.command()
def compare(
    first: Annotated[str, typer.Argument(help="a run or a row, as in other commands")],
    second: Annotated[str, typer.Argument(help="another one on the same images")],
    resamples: Annotated[int, typer.Option(min=1, help="of the images")] = 1000,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """The difference of two runs' mask AP (and mIoU), with its interval by a paired bootstrap over images.

    Of rows that were trained with several seeds, runs of one seed are compared with each other.
    """
    from wsis.trained.compare import compare as compared

    found = compared(run_folders(first, results), run_folders(second, results), resamples)
    print(json.dumps(found, indent=1)) if as_json else show(first, second, found)


def show(first: str, second: str, found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from wsis.flow.show import print_whole
    from wsis.trained.compare import lines

    grid = Table("", escape(first), escape(second), "difference", "95 %")
    for name, each in found["metrics"].items():
        numbers = (f"{each[key]:.2f}" for key in ("first", "second"))
        interval = f"{each['low']:+.2f} to {each['high']:+.2f}"
        grid.add_row(name, *numbers, f"{each['difference']:+.2f}", interval)
    print_whole(grid, 1, 2)
    print("\n".join(lines(found)))
