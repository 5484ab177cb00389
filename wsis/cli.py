"""The command line: `wsis` or `python -m wsis`. Each command imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from wsis import __version__
from wsis.commands.bench import bench_app
from wsis.commands.data import data_app
from wsis.commands.model import RunDeviceOption, evaluate_files, evaluate_folders, model_app, run_folder
from wsis.commands.report import report_app
from wsis.errors import WsisError
from wsis.options import (
    RESULTS,
    AcceleratorOption,
    JsonOption,
    ResultsOption,
    RootOption,
    ScaleOption,
    SeedsOption,
    SetOption,
    planned,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def show_version(asked: bool) -> None:
    if asked:
        print(f"wsis {__version__}")
        raise typer.Exit()


def main() -> None:
    """Run the command line; a WsisError becomes one line on stderr and exit code 1."""
    try:
        app(prog_name="wsis")
    except WsisError as error:
        print(f"wsis: {error}", file=sys.stderr)
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
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    as_json: JsonOption = False,
) -> None:
    """What there is to run: runs, the rows each serves, parents, device-hours and disk."""
    from wsis.show import plan_as_json, show_plan

    chosen = planned(scale, seeds, set_)
    print(json.dumps(plan_as_json(chosen), indent=1)) if as_json else show_plan(chosen)


@app.command()
def reproduce(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="targets (<paper>_<table>, <paper>, all) and key=value of the configuration"),
    ] = None,
    scale: ScaleOption = "tiny",
    cores: Annotated[int | None, typer.Option(help="default: all that this process may use")] = None,
    config: Annotated[list[str] | None, typer.Option(help="key=value, e.g. seeds=[31]")] = None,
) -> None:
    """Train, evaluate and render targets (default: the headline tables): a line for every finished row."""
    from wsis.estimate import core_count
    from wsis.reproduce import reproduce as follow

    entries = [*(config or []), *(word for word in words or [] if "=" in word)]
    names = [word for word in words or [] if "=" not in word]
    raise typer.Exit(follow(names, scale, cores or core_count(), entries, RESULTS))


@app.command()
def tables(
    scale: ScaleOption = "paper",
    as_json: JsonOption = False,
) -> None:
    """Every declared table with its rows, recipes and published values."""
    from wsis.show import show_tables, tables_as_json

    chosen = planned(scale, None, None)
    print(json.dumps(tables_as_json(chosen), indent=1)) if as_json else show_tables(chosen)


@app.command()
def show(
    what: Annotated[str, typer.Argument(help="a table (<paper>/<table>) or a run id")],
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
) -> None:
    """One table as declared, or one run's whole recipe and how it deviates from the paper's."""
    from wsis.show import show_run, show_table

    chosen = planned(scale, seeds, set_)
    if what in chosen.tables:
        show_table(chosen, what)
    elif what in chosen.runs:
        show_run(chosen.runs[what])
    else:
        raise WsisError(f"'{what}' is neither a table ({', '.join(chosen.tables)}) nor a run at {scale}")


@app.command()
def train(
    ids: Annotated[list[str], typer.Argument(help="run ids, parents first")],
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
    devices: Annotated[int | None, typer.Option(help="default: the recipe's, as far as there are")] = None,
    threads: Annotated[int | None, typer.Option(help="of each process")] = None,
    cores: Annotated[int | None, typer.Option(help="shared by the processes, if no --threads")] = None,
    workers: Annotated[int | None, typer.Option(help="threads that read images")] = None,
    max_images: Annotated[int | None, typer.Option(help="images a device holds at once")] = None,
    checkpoint_seconds: Annotated[float, typer.Option(help="between two checkpoints")] = 600.0,
) -> None:
    """Train runs one after another, each with its predictions; finished ones are skipped."""
    from wsis.engine.execute import RunOptions
    from wsis.engine.run import train_runs
    from wsis.engine.train import TrainOptions

    if cores and not threads:
        threads = max(1, cores // (devices or 1))
    options = RunOptions(accelerator, devices, threads, workers, TrainOptions(max_images, checkpoint_seconds))
    train_runs(planned(scale, seeds, set_), ids, results, data_root, options)


@app.command()
def evaluate(
    ids: Annotated[list[str] | None, typer.Argument(help="run ids of the plan, or folders of runs")] = None,
    data: Annotated[Path | None, typer.Option(help="another root to evaluate on")] = None,
    predictions: Annotated[Path | None, typer.Option(help="any COCO results, without a run")] = None,
    annotations: Annotated[Path | None, typer.Option(help="the COCO file of their images")] = None,
    protocol: Annotated[str, typer.Option(help="of --predictions: coco, voc, class-agnostic")] = "coco",
    device: RunDeviceOption = None,
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Predictions to metrics.json, with pycocotools.

    A folder of a run needs no other option. With --data its images are predicted anew, unless it is the
    root that the run was trained on. --predictions with --annotations evaluates files and writes nothing.
    """
    if predictions or annotations:
        evaluate_files(predictions, annotations, protocol)
    elif data or any((Path(id) / "recipe.json").exists() for id in ids or []):
        evaluate_folders([run_folder(id, results) for id in ids or []], data, device)
    elif not ids:
        raise WsisError("evaluate what? Give runs, or --predictions FILE --annotations FILE")
    else:
        from wsis.jobs import evaluate_runs

        evaluate_runs(planned(scale, seeds, set_), ids, results, data_root)


@app.command()
def submit(
    run: Annotated[str, typer.Argument(help="run id")],
    image_info: Annotated[Path, typer.Argument(help="COCO's image_info_test-dev2017.json")],
    images: Annotated[Path, typer.Argument(help="the folder of its images, test2017")],
    scale: ScaleOption = "paper",
    name: Annotated[str | None, typer.Option(help="of the method; default: the run id")] = None,
    results: ResultsOption = RESULTS,
    accelerator: Annotated[str, typer.Option(help="cpu or cuda")] = "cuda",
) -> None:
    """Predict test-dev with a trained run and pack the file that COCO's evaluation server takes."""
    from wsis.engine.submit import submit as predict_and_pack

    print(predict_and_pack(results / scale / "runs" / run, image_info, images, name or run, accelerator))


@app.command()
def measure(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="sets of measures, tables (PAPER/NUMBER), ids of what is measured; default: all"),
    ] = None,
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
    accelerator: AcceleratorOption = None,
) -> None:
    """Measures of tables and figures: of trained runs, of images or of networks; nothing is trained."""
    from wsis.jobs import measure as measure_all

    measure_all(planned(scale, seeds, set_), words or [], results, data_root, accelerator)


@app.command()
def pictures(
    ids: Annotated[list[str], typer.Argument(help="ids of trained runs")],
    scale: ScaleOption = "tiny",
    seeds: SeedsOption = None,
    set_: SetOption = None,
    data_root: RootOption = None,
    results: ResultsOption = RESULTS,
) -> None:
    """Sheets of pictures that show what trained runs do, after the papers' figures."""
    from wsis.picture_jobs import picture_runs

    for path in picture_runs(planned(scale, seeds, set_), ids, results, data_root):
        print(path)


app.add_typer(report_app)
app.add_typer(model_app)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
