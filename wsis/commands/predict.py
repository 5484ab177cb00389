"""`wsis predict`: masks of a trained run wherever its folder lies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wsis.errors import WsisError
from wsis.options import RESULTS, ResultsOption, RunDeviceOption, run_folder

predict_app = typer.Typer()


@predict_app.command()
def predict(
    run: Annotated[str, typer.Argument(help="folder of a trained run, wherever it lies, or a name of one")],
    images: Annotated[list[Path] | None, typer.Argument(help="image files, and folders of them")] = None,
    data: Annotated[Path | None, typer.Option(help="a COCO or VOC root instead, with its ids")] = None,
    split: Annotated[str | None, typer.Option(help="of --data; default: what the run evaluates on")] = None,
    out: Annotated[Path, typer.Option(help="folder of predictions.json, instances.json, drawn/")] = Path(
        "predicted"
    ),
    score: Annotated[
        float | None, typer.Option(help="leave out what has a lower score; default: 0.3, all of --data")
    ] = None,
    draw: Annotated[bool, typer.Option("--draw", help="also pictures with the masks")] = False,
    annotations: Annotated[
        Path | None, typer.Option(help="COCO file that numbers the images, and has the boxes to be filled")
    ] = None,
    given_boxes: Annotated[
        bool, typer.Option("--given-boxes", help="masks of the boxes of --annotations, of any run")
    ] = False,
    polygons: Annotated[
        bool, typer.Option("--polygons", help="fill the boxes with polygons instead of RLE")
    ] = False,
    device: RunDeviceOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Masks of a trained run on images of yours, as COCO results with boxes and class names.

    Images are files and folders, or with --data those of a root's split. With --given-boxes, instances.json
    is the file of --annotations, or of the split, with a mask in each of its boxes.
    """
    from wsis.trained.export import Boxes, export, image_files
    from wsis.trained.listed_split import listed_split
    from wsis.trained.model import Model

    if (data is None) == (not images) or (data is not None and annotations is not None):
        raise WsisError("predict what? Give IMAGES (with --annotations or not), or --data ROOT")
    if data is None and split is not None:
        raise WsisError("--split is one of a root: give --data ROOT")
    boxes, model = Boxes(given_boxes, polygons), Model(run_folder(run, results), device)
    if data is None:
        files = image_files(images or [])
    else:
        known = {} if model.recipe.data.classes == "one" else model.categories
        annotations, files = listed_split(data.expanduser(), split, model.recipe.data.eval, known, out)
    least = score if score is not None else 0.3 if data is None else 0.0
    there, count = export(model, files, out, least, draw, annotations, boxes)
    print(f"{count} instances in {there} images: {out / 'predictions.json'}")
