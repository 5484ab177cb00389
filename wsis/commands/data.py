"""`wsis data`: make or check the images that are trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsis.errors import WsisError
from wsis.options import (
    RESULTS,
    AcceleratorOption,
    PredictOnlyOption,
    ResultsOption,
    RootOption,
    ScaleOption,
    SeedsOption,
    SetOption,
    planned,
)

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
    from wsis.flow.jobs import make_data

    for path in make_data(planned(scale, str(seed), set_), results, root):
        print(path)


@data_app.command("judge")
def data_judge(
    ids: Annotated[list[str], typer.Argument(help="run ids")],
    scale: ScaleOption = "mini",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    predict_only: PredictOnlyOption = False,
) -> None:
    """Check your roots as these runs read them, and keep the verdict; nothing is read where none changed."""
    from wsis.judge import judge

    chosen = planned(scale, seeds, set_)
    chosen.check_known(ids)
    for path in judge(chosen, ids, results, data_root, predict_only):
        print(path)


@data_app.command("check")
def data_check(
    root: Annotated[Path, typer.Argument(help="a COCO, VOC or saliency root")],
    decode: Annotated[bool, typer.Option(help="read every pixel, also of large roots")] = False,
    train: Annotated[list[str] | None, typer.Option(help="splits to train on; default: all others")] = None,
    eval_: Annotated[
        list[str] | None,
        typer.Option("--eval", help="splits to evaluate on; default: those named val..., test..."),
    ] = None,
    supervision: Annotated[
        list[str] | None, typer.Option(help="of the training, e.g. boxes or masks; default: any")
    ] = None,
    predict_only: Annotated[bool, typer.Option(help="nothing is evaluated: no masks are needed")] = False,
) -> None:
    """Say what is wrong with a data root, and for whom; exit code 1 when something is."""
    from wsis.data.check.report import Uses
    from wsis.data.check.root import check_root

    given = (None if words is None else frozenset(words) for words in (train, eval_, supervision))
    checked = check_root(root, decode or None, Uses(*given, predict_only))
    print(checked)
    if not checked.ok:
        raise typer.Exit(1)


@data_app.command("semantic")
def data_semantic(
    root: Annotated[Path, typer.Argument(help="a COCO or VOC root")],
    model: Annotated[Path, typer.Option(help="folder of a segmentation checkpoint of transformers")],
    name: Annotated[str, typer.Option(help="of the folder below ROOT/semantic/")] = "mask2former",
    split: Annotated[list[str] | None, typer.Option(help="of the root; default: all")] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="'NAME=ITS NAME': the network's name of one of the root's classes"),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="images of one size at once")] = 4,
    accelerator: AcceleratorOption = None,
) -> None:
    """Semantic maps of a root's images by another system's network; those that are there stay."""
    from wsis.engine.devices import accelerator_of
    from wsis.engine.semantic_maps import make_maps

    renamed = dict(entry.split("=", 1) for entry in rename or [] if "=" in entry)
    if len(renamed) < len(rename or []):
        raise WsisError(f"--rename {' '.join(rename)}: each is 'NAME=ITS NAME', and every NAME stands once")
    folder, made = make_maps(root, model, name, split or (), renamed, accelerator_of(accelerator), batch)
    print(f"{folder}: {made} maps made")
