"""`wsis fit`: a training outside of any table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from wsis.configuration import entries
from wsis.errors import WsisError
from wsis.options import RESULTS, ResultsOption

fit_app = typer.Typer()


@fit_app.command()
def fit(
    method: Annotated[str, typer.Argument(help="what to train; a wrong name lists those that there are")],
    data: Annotated[Path, typer.Option(help="your COCO or VOC root")],
    backbone: Annotated[str | None, typer.Option(help="default: by the device")] = None,
    epochs: Annotated[
        float | None, typer.Option(help="passes over the images; default: by their number")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="images a step; default: by the device")] = None,
    lr: Annotated[float | None, typer.Option(help="learning rate; default: by the batch")] = None,
    size: Annotated[int | None, typer.Option(help="pixels of the short side; default: by the device")] = None,
    classes: Annotated[str, typer.Option(help="all, or one: every object is an 'object'")] = "all",
    train: Annotated[str | None, typer.Option(help="split to train on; default: the only one")] = None,
    val: Annotated[str | None, typer.Option(help="split to evaluate on; default: the only one")] = None,
    seed: Annotated[int, typer.Option(help="of all that is random")] = 0,
    set_: Annotated[list[str] | None, typer.Option("--set", help="recipe.key=value")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: cuda if there is one")] = None,
    threads: Annotated[int | None, typer.Option(help="of the processor")] = None,
    workers: Annotated[int | None, typer.Option(help="threads that read images")] = None,
    max_images: Annotated[int | None, typer.Option(help="images the device holds at once")] = None,
    logger: Annotated[str | None, typer.Option(help="csv or tensorboard, beside log.jsonl")] = None,
    out: Annotated[Path | None, typer.Option(help="a copy of the model's folder")] = None,
    results: ResultsOption = RESULTS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be chosen")] = False,
) -> None:
    """Train a method on your own images, with settings for their number and the device, and evaluate it.

    Ctrl-C ends the training early and keeps a model; the same command goes on. The run is then used like any
    other: wsis predict, evaluate, runs.
    """
    from wsis.alone import fit_of
    from wsis.engine.loggers import check_logger
    from wsis.fit.facts import data_facts, device_facts
    from wsis.fit.run import copy_model, plan_fit, tell
    from wsis.fit.run import fit as run_fit

    fit_of(method)
    check_logger(logger)
    if classes not in ("all", "one"):
        raise WsisError(f"--classes {classes}: expected all or one")
    for name, value in {"epochs": epochs, "batch": batch, "lr": lr, "size": size}.items():
        if value is not None and value <= 0:
            raise WsisError(f"--{name} {value}: expected a number above 0")
    given: dict[str, Any] = entries(set_ or [], "--set {}: expected recipe.key=value")
    flags = {
        "model.backbone": backbone,
        "schedule.batch": batch,
        "schedule.lr": lr,
        "data.classes": "one" if classes == "one" else None,
        "epochs": epochs,
        "size": size,
    }
    given |= {key: value for key, value in flags.items() if value is not None}
    facts, found = data_facts(data.expanduser(), train, val), device_facts(device)
    plan, choices = plan_fit(method, facts, found, given, seed)
    tell(plan, choices, facts)
    if dry_run:
        return
    from wsis.engine.job import RunOptions
    from wsis.engine.train import TrainOptions
    from wsis.files import read_json
    from wsis.trained.evaluate import lines

    options = TrainOptions(max_images, logger=logger, ends_early=True)
    folder, metrics = run_fit(plan, facts, results, RunOptions(found.kind, 1, threads, workers, options))
    if out is not None:
        copy_model(folder, out)
    if metrics is not None:
        print("\n".join(lines(read_json(metrics))))
    print(f"{out or folder}\nwsis predict {out or folder} PHOTOS --draw")
