"""The command line: `wsis` or `python -m wsis`. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from wsis import __version__
from wsis.commands.bench import bench_app
from wsis.commands.compare import compare_app
from wsis.commands.data import data_app
from wsis.commands.fit import fit_app
from wsis.commands.model import RunDeviceOption, evaluate_files, evaluate_folders, model_app, run_folders
from wsis.commands.official import official_app
from wsis.commands.report import report_app
from wsis.commands.share import share_app
from wsis.commands.verify import verify_app
from wsis.configuration import split
from wsis.disk import disk_error
from wsis.errors import WsisError, one_line
from wsis.options import (
    RESULTS,
    AcceleratorOption,
    CostsOption,
    JsonOption,
    MaybeRunsArgument,
    OfRunOption,
    ResultsOption,
    RootOption,
    RunsArgument,
    ScaleOption,
    SeedsOption,
    SetOption,
    chosen,
    planned,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def show_version(asked: bool) -> None:
    if asked:
        print(f"wsis {__version__}")
        raise typer.Exit()


def main() -> None:
    """Run the command line; a WsisError or a disk's error becomes one line on stderr and exit code 1."""
    try:
        app(prog_name="wsis")
    except WsisError as error:
        print(one_line(f"wsis: {error}"), file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if (text := disk_error(error)) is None:
            raise
        print(f"wsis: {error.filename or 'a file'}: {text}", file=sys.stderr)
        sys.exit(1)


@app.callback()
def common(
    included: Annotated[
        list[Path] | None,
        typer.Option("--include", help="a method of yours: a .py file or a package that defines INFO"),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="print it and exit")
    ] = False,
) -> None:
    """Reproduce papers on weakly-supervised instance segmentation."""
    from wsis.methods.outside import include

    include(included or [])


@app.command()
def plan(
    words: Annotated[
        list[str] | None, typer.Argument(help="tables, papers or other targets; default: all there is")
    ] = None,
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    costs: CostsOption = None,
    decide: Annotated[
        str | None,
        typer.Option(help="a claim ('<paper>/<table> <id>', or its id): what would decide it"),
    ] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """What there is to run: runs, the rows each serves, parents, time by table and disk.

    With --decide: how many seeds would decide an inconclusive claim, what they cost, and the command. The
    noise is that of the runs in RESULTS, or of the reference run where nothing was run.
    """
    from wsis.flow.show import plan_as_json, show_plan
    from wsis.flow.work import named_tables

    asked = planned(scale, seeds, set_, costs)
    if decide is not None:
        from wsis.flow.decide import show_decision

        return show_decision(asked, results, decide, as_json)
    tables = named_tables(asked, words or ["all"])
    print(json.dumps(plan_as_json(asked, tables), indent=1)) if as_json else show_plan(asked, tables)


@app.command()
def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="targets (<paper>_<table>, <paper>, all) and key=value of the configuration"),
    ] = None,
    scale: ScaleOption = "tiny",
    cores: Annotated[int | None, typer.Option(help="default: all that this process may use")] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="key=value, e.g. seeds=[31]; several with blanks")
    ] = None,
) -> None:
    """Train, evaluate and render targets (default: the headline tables): a line for every finished row."""
    from wsis.flow.estimate import core_count
    from wsis.flow.reproduce import reproduce as follow

    entries = [entry for text in config or [] for entry in split(text)]
    entries += [word for word in words or [] if "=" in word]
    names = [word for word in words or [] if "=" not in word]
    raise typer.Exit(follow(names, scale, cores or core_count(), entries, RESULTS))


@app.command()
def tables(
    scale: ScaleOption = "paper",
    as_json: JsonOption = False,
) -> None:
    """Every declared table with its rows, recipes and published values."""
    from wsis.flow.show import show_tables, tables_as_json

    asked = planned(scale, None, None)
    print(json.dumps(tables_as_json(asked), indent=1)) if as_json else show_tables(asked)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="a table, or a run: its id, its folder or 'TABLE:ROW@SEED'")],
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """One table as declared, or one run's whole recipe and how it deviates from the paper's."""
    from wsis.declare.load import load_tables
    from wsis.flow.show import show_run, show_table
    from wsis.results.naming import table_of

    if key := table_of(what, load_tables()):
        return show_table(planned(scale or "tiny", seeds, set_), key)
    for group in chosen([what], results, scale, seeds, set_):
        for id in group.ids:
            show_run(group.plan.runs[id])


@app.command("runs")
def list_runs(
    words: Annotated[list[str] | None, typer.Argument(help="as in other commands; default: all")] = None,
    scale: Annotated[str | None, typer.Option("--scale", "-s", help="default: every scale")] = None,
    results: ResultsOption = RESULTS,
    as_json: JsonOption = False,
) -> None:
    """The runs that exist: what rows they serve, how far they are, and their main metrics."""
    from wsis.flow.listing import listed, show_runs

    runs = listed(words or [], results, scale)
    print(json.dumps(runs, indent=1)) if as_json else show_runs(runs)


@app.command()
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
    predict_only: Annotated[
        bool, typer.Option(help="nothing is to be evaluated: val needs no masks")
    ] = False,
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


@app.command()
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
) -> None:
    """Predictions to metrics.json, with pycocotools.

    A folder of a run needs no other option. With --data its images are predicted anew, unless it is the
    root that the run was trained on. --predictions with --annotations evaluates files and writes nothing.
    With --given-boxes the run is given the true boxes, and their masks are compared with the true ones.
    """
    if predictions or annotations:
        evaluate_files(predictions, annotations, protocol)
    elif not words:
        raise WsisError("evaluate what? Give runs, or --predictions FILE --annotations FILE")
    elif data or given_boxes or any((Path(word) / "recipe.json").exists() for word in words):
        folders = [folder for word in words for folder in run_folders(word, results)]
        evaluate_folders(folders, data, device, given_boxes)
    else:
        from wsis.flow.jobs import evaluate_runs

        for group in chosen(words, results, scale, seeds, set_):
            evaluate_runs(group.plan, group.ids, group.results, data_root or group.roots)


@app.command()
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


@app.command()
def measure(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="sets of measures, tables, rows, ids of what is measured; default: all"),
    ] = None,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
) -> None:
    """Measures of tables and figures: of trained runs, of images or of networks; nothing is trained."""
    from wsis.flow.jobs import measure as measure_all
    from wsis.options import measured

    for group, asked in measured(words or [], results, scale, seeds, set_):
        measure_all(group.plan, asked, group.results, data_root or group.roots, accelerator)


@app.command()
def pictures(
    words: RunsArgument,
    scale: OfRunOption = None,
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Sheets of pictures that show what trained runs do, after the papers' figures."""
    from wsis.flow.picture_jobs import picture_runs

    for group in chosen(words, results, scale, seeds, set_):
        for path in picture_runs(group.plan, group.ids, group.results, data_root or group.roots):
            print(path)


app.add_typer(fit_app)
app.add_typer(report_app)
app.add_typer(verify_app)
app.add_typer(share_app)
app.add_typer(model_app)
app.add_typer(compare_app)
app.add_typer(official_app)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
