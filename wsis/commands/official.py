"""`wsis import` and `wsis export`: runs from and for other code."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated

import typer

from wsis.errors import WsisError
from wsis.options import RESULTS, AcceleratorOption, ResultsOption, RootOption, SetOption, run_folder

official_app = typer.Typer()


@official_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help=".pth or .pkl of a whole network (docs/detectron2.md)")],
    method: Annotated[str, typer.Option("--as", help="the method whose weights they are")],
    config: Annotated[
        str | None,
        typer.Option(help="its configuration's name there; default: what the file's name ends with"),
    ] = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
) -> None:
    """Official weights as a finished run of scale paper; with --data-root also predicted and evaluated.

    Nothing in the file is executed. The run fills the cells of the rows that have its recipe.
    """
    from wsis.configuration import entries
    from wsis.files import read_json
    from wsis.trained.evaluate import lines
    from wsis.trained.official import import_checkpoint

    settings = entries(set_ or [], "--set {}: expected recipe.key=value")
    run = import_checkpoint(file, method, config, settings, results, data_root, accelerator)
    print(f"{run.folder}: {method} from {file.name}, {run.config}")
    for table, row in run.rows:
        print(f"fills row '{row}' of {table}")
    flags = " ".join(
        f"--set {shlex.quote(f'{key}={json.dumps(value)}')}" for key, value in run.settings.items()
    )
    print(f"report: wsis report --scale paper {flags}")
    metrics = run.folder / "metrics.json"
    print(
        "\n".join(lines(read_json(metrics))) if metrics.exists() else "no predictions yet: give --data-root"
    )


@official_app.command("export")
def export_(
    run: Annotated[str, typer.Argument(help="folder of a trained run, wherever it lies, or a name of one")],
    detectron2: Annotated[bool, typer.Option("--detectron2", help="for its DefaultPredictor")] = False,
    out: Annotated[Path, typer.Option(help="folder of what is written")] = Path("exported"),
    results: ResultsOption = RESULTS,
) -> None:
    """A trained run for other code: a folder that `wsis.detectron2.load` gives to DefaultPredictor."""
    from wsis.detectron2 import export

    if not detectron2:
        raise WsisError("export to what? Give --detectron2")
    print(export(run_folder(run, results), out))
