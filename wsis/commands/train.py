"""`wsis train`."""

from __future__ import annotations

from typing import Annotated

import typer

from wsis.options import (
    RESULTS,
    AcceleratorOption,
    OfRunOption,
    PredictOnlyOption,
    ResultsOption,
    RootOption,
    RunsArgument,
    SeedsOption,
    SetOption,
    chosen,
)

train_app = typer.Typer()


@train_app.command()
def train(
    words: RunsArgument,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
    devices: Annotated[int | None, typer.Option(min=1, help="at most; default: all there are")] = None,
    threads: Annotated[int | None, typer.Option(help="of each process")] = None,
    cores: Annotated[int | None, typer.Option(help="shared by the processes, if no --threads")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="processes that read images for a device")
    ] = None,
    max_images: Annotated[int | None, typer.Option(min=1, help="images a device holds at once")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(help="between two checkpoints")] = 600.0,
    predict_only: PredictOnlyOption = False,
    logger: Annotated[str | None, typer.Option(help="csv or tensorboard, beside log.jsonl")] = None,
) -> None:
    """Train runs one after another, each with its predictions; finished ones are skipped.

    Ids are trained in the order given, parents first. Rows and tables are trained with all that they need.
    """
    from wsis.engine.job import RunOptions
    from wsis.engine.loggers import check_logger
    from wsis.engine.run import train_runs
    from wsis.engine.train import TrainOptions
    from wsis.judge import compare, judge

    if cores and not threads:
        threads = max(1, cores // (devices or 1))
    check_logger(logger)
    how = TrainOptions(max_images, checkpoint_seconds, logger=logger)
    options = RunOptions(accelerator, devices, threads, workers, how)
    for group in chosen(words, results, scale, seeds, set_, anew=True):
        roots = data_root or group.roots
        compare(group.plan, group.ids, group.results, roots, predict_only)
        judge(group.plan, group.ids, group.results, roots, predict_only)
        train_runs(group.plan, group.ids, group.results, roots, options)
