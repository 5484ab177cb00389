"""Options that several commands of the command line share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ScaleOption = Annotated[str, typer.Option("--scale", "-s", help="smoke, tiny, mini or paper")]
SeedsOption = Annotated[str | None, typer.Option(help="e.g. 11,12,13; default: the scale's own")]
SetOption = Annotated[list[str] | None, typer.Option("--set", help="recipe.key=value, for every run")]
RootOption = Annotated[
    str | None, typer.Option("--data-root", help="PATH of the images (mini, paper), or coco=PATH,voc=PATH")
]
ResultsOption = Annotated[Path, typer.Option(help="where runs are written")]
ReportsOption = Annotated[Path, typer.Option(help="where reports are written")]
AcceleratorOption = Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda if there is one")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
RESULTS, REPORTS = Path("results"), Path("reports")
