"""`wsis evaluate` and `wsis submit`: from predictions to metrics, or to COCO's evaluation server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from wsis.errors import WsisError
from wsis.options import (
    RESULTS,
    MaybeRunsArgument,
    OfRunOption,
    ResultsOption,
    RootOption,
    RunDeviceOption,
    SeedsOption,
    SetOption,
    SinceOption,
    chosen,
    run_folders,
)

evaluate_app = typer.Typer()


@evaluate_app.command()
def evaluate(
    words: MaybeRunsArgument = None,
    data: Annotated[Path | None, typer.Option(help="another root to evaluate on")] = None,
    predictions: Annotated[Path | None, typer.Option(help="any COCO results, without a run")] = None,
    annotations: Annotated[Path | None, typer.Option(help="the COCO file of their images")] = None,
    protocol: Annotated[str, typer.Option(help="of --predictions: coco, voc, class-agnostic")] = "coco",
    given_boxes: Annotated[
        bool, typer.Option("--given-boxes", help="also the masks of the true boxes (mIoU)")
    ] = False,
    device: RunDeviceOption = None,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    since: SinceOption = None,
) -> None:
    """Predictions to metrics.json, with pycocotools.

    A folder of a run needs no other option. With --data its images are predicted anew, unless it is the
    root that the run was trained on. --predictions with --annotations evaluates files and writes nothing.
    With --given-boxes the run is given the true boxes, and their masks are compared with the true ones.
    """
    alone = bool(data or given_boxes or any((Path(word) / "recipe.json").exists() for word in words or ()))
    if since and (alone or predictions or annotations):
        raise WsisError("--since is for runs of a results folder by id; of other evaluations nothing is kept")
    if predictions or annotations:
        evaluate_files(predictions, annotations, protocol)
    elif not words:
        raise WsisError("evaluate what? Give runs, or --predictions FILE --annotations FILE")
    elif alone:
        folders = [folder for word in words for folder in run_folders(word, results)]
        evaluate_folders(folders, data, device, given_boxes)
    else:
        from wsis.flow.jobs import evaluate_runs

        for group in chosen(words, results, scale, seeds, set_):
            evaluate_runs(group.plan, group.ids, group.results, data_root or group.roots, since)


@evaluate_app.command()
def submit(
    run: Annotated[str, typer.Argument(help="id, folder or 'TABLE:ROW@SEED' of a trained run")],
    image_info: Annotated[Path, typer.Argument(help="COCO's image_info_test-dev2017.json")],
    images: Annotated[Path, typer.Argument(help="the folder of its images, test2017")],
    scale: OfRunOption = None,
    name: Annotated[str | None, typer.Option(help="of the method; default: the run id")] = None,
    results: ResultsOption = RESULTS,
    accelerator: Annotated[str, typer.Option(help="cpu or cuda")] = "cuda",
) -> None:
    """Predict test-dev with a trained run and pack the file that COCO's evaluation server takes."""
    from wsis.engine.submit import submit as predict_and_pack

    folders = [folder for group in chosen([run], results, scale, None, None) for folder in group.folders]
    if len(folders) != 1:
        raise WsisError(
            f"{run}: {len(folders)} runs ({', '.join(folder.name for folder in folders)}): name one"
        )
    print(predict_and_pack(folders[0], image_info, images, name or folders[0].name, accelerator))


def evaluate_folders(
    folders: Sequence[Path], data: Path | None, device: str | None, given_boxes: bool = False
) -> None:
    """Write and print the metrics of runs."""
    from wsis.files import read_json
    from wsis.trained.evaluate import evaluate_folder, lines

    for folder in folders:
        path = evaluate_folder(folder, data, device, given_boxes)
        print("\n".join([*lines(read_json(path)), str(path)]))


def evaluate_files(predictions: Path | None, annotations: Path | None, protocol: str) -> None:
    """Print the metrics of COCO results against a COCO file."""
    from wsis.evaluation.run import evaluated
    from wsis.trained.evaluate import lines

    if predictions is None or annotations is None:
        raise WsisError("--predictions FILE and --annotations FILE belong together")
    print("\n".join(lines(evaluated(predictions, annotations, protocol))))
