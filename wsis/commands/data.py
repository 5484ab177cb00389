"""`wsis data`: make or check the images that are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsis.options import RESULTS, ResultsOption, ScaleOption, SetOption, planned

data_app = typer.Typer(no_args_is_help=True, help="Make or check data roots.")


@data_app.command("make")
def data_make(
    seed: Annotated[int, typer.Option(help="of the training images")],
    scale: ScaleOption = "tiny",
    set_: SetOption = None,
    results: ResultsOption = RESULTS,
    root: Annotated[str | None, typer.Option(help="folder name of the only one to draw")] = None,
) -> None:
    """Draw the synthetic data roots of a seed."""
    from wsis.jobs import make_data

    for path in make_data(planned(scale, str(seed), set_), results, root):
        print(path)


@data_app.command("check")
def data_check(
    root: Annotated[Path, typer.Argument(help="a COCO, VOC or saliency root")],
    decode: Annotated[bool, typer.Option(help="read every pixel, also of large roots")] = False,
) -> None:
    """Say what is wrong with a data root; exit code 1 when something is."""
    from wsis.data.check.report import check_root

    checked = check_root(root, decode=decode or None)
    print(checked)
    if not checked.ok:
        raise typer.Exit(1)
