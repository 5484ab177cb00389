"""`wsis bench`: what is measured for speed. Each command imports what it needs when it runs."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from wsis.methods import infos
from wsis.options import (
    RESULTS,
    AcceleratorOption,
    JsonOption,
    ResultsOption,
    RootOption,
    ScaleOption,
    SetOption,
    planned,
)


class Benches(TyperGroup):
    """The commands below, and each method's own (`Info.benches`), imported when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), *benches()]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in benches():
            return super().get_command(context, name)
        single = typer.Typer(add_completion=False)
        single.command(name)(resolve_name(benches()[name]))
        return typer.main.get_command(single)


def benches() -> dict[str, str]:
    """Name -> 'module:function' of the benches that methods have."""
    return {name: target for info in infos().values() for name, target in info.benches.items()}


bench_app = typer.Typer(cls=Benches, no_args_is_help=True, help="Measure speed; ratios within one run.")


@bench_app.command("overhead")
def bench_overhead(results: ResultsOption = RESULTS) -> None:
    """Workflow wall time x cores over the sum of training times, for every scale that was run."""
    from rich.console import Console

    from wsis.bench.overhead import overhead, show

    show(overhead(results), Console())


@bench_app.command("calibrate")
def bench_calibrate(results: ResultsOption = RESULTS) -> None:
    """The speed of this machine: CPU seconds of the unit of estimates, kept under results/."""
    from wsis.bench.calibrate import calibrated, machine

    print(f"a unit takes {calibrated(results):.3g} CPU seconds on {machine()}")


@bench_app.command("default")
def bench_default(scale: ScaleOption = "tiny", as_json: JsonOption = False) -> None:
    """CPU seconds of a row of each method at a generated scale, by part, and in units of the calibration."""
    from wsis.bench.default import bench

    bench(scale, as_json)


@bench_app.command("launches")
def bench_launches(
    scale: ScaleOption = "tiny",
    images: Annotated[int, typer.Option(help="images of the step")] = 8,
    causes: Annotated[bool, typer.Option(help="name the lines that wait")] = False,
    as_json: JsonOption = False,
) -> None:
    """Operations of a step of each method, and how often it waits for a card, which need not be there."""
    from wsis.bench.launches import bench

    bench(scale, images, causes, as_json)


@bench_app.command("step")
def bench_step(
    words: Annotated[
        list[str] | None, typer.Argument(help="tables or targets; default: all there is")
    ] = None,
    scale: ScaleOption = "paper",
    set_: SetOption = None,
    steps: Annotated[int, typer.Option(min=1, help="that are timed")] = 10,
    accelerator: AcceleratorOption = None,
    data_root: RootOption = None,
    out: Annotated[Path | None, typer.Option(help="default: costs.json in results/<scale>")] = None,
) -> None:
    """Seconds a training image of each method and backbone on this machine, for plans and time limits.

    Images are drawn, unless a root is given. What the file has of the same device already is kept.
    """
    import torch

    from wsis.bench.steps import Options, measure
    from wsis.declare.measured import write_measured
    from wsis.flow.work import named_tables

    path = out or RESULTS / scale / "costs.json"
    asked = planned(scale, "0", set_)
    options = Options(accelerator or ("cuda" if torch.cuda.is_available() else "cpu"), steps, data_root)
    write_measured(path, measure(asked, named_tables(asked, words or ["all"]), options))
    print(path)


@bench_app.command("loader")
def bench_loader(
    data_root: Annotated[str, typer.Option(help="PATH, or coco=PATH,voc=PATH,salient=PATH")],
    scale: ScaleOption = "paper",
    images: Annotated[int, typer.Option(help="to read of each kind")] = 192,
    as_json: JsonOption = False,
) -> None:
    """Training images that a core reads a second, of each method, data set and supervision."""
    from wsis.bench.loader import bench

    bench(scale, data_root, images, as_json)


@bench_app.command("gpu")
def bench_gpu(
    parts: Annotated[
        list[str] | None, typer.Argument(help="'steps', 'steps METHOD', waits, resume, ...; default: all")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="cuda, or cpu for a dry run at smoke's size")] = "cuda",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="as --accelerator cpu")] = False,
    data_root: RootOption = None,
    out: Annotated[
        Path | None, typer.Option(help="default: results/gpu-check; of a dry run results/dry-run")
    ] = None,
) -> None:
    """What only a card can show, in at most ten minutes; exit code 1 where something is amiss.

    Losses in 32 and 16 bits against the processor's, step times, memory, waits, resume, batch norm over
    processes. With --data-root also a short training on real images.
    """
    from wsis.bench.gpu.check import check
    from wsis.bench.gpu.parts import Setting

    setting = Setting("cpu" if dry_run else accelerator, data_root)
    folder = out or RESULTS / ("gpu-check" if setting.accelerator == "cuda" else "dry-run")
    if not check(setting, parts or [], folder):
        raise typer.Exit(1)
