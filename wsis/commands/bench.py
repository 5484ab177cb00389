"""`wsis bench`: what is measured for speed. Each command imports what it needs when it runs."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Annotated

import click
import typer
from typer.core import TyperGroup

from wsis.methods import infos
from wsis.options import RESULTS, JsonOption, ResultsOption, ScaleOption


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
