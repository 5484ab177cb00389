"""`wsis bench`: what is measured for speed. Each command imports what it needs when it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from wsis.options import RESULTS, JsonOption, ResultsOption, ScaleOption

bench_app = typer.Typer(no_args_is_help=True, help="Measure speed; ratios within one run.")


@bench_app.command("pairwise")
def bench_pairwise(
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Pairwise loss against the plain formulation: time, peak memory, agreement."""
    from wsis.methods.boxinst.bench import bench

    bench(device, as_json)


@bench_app.command("overhead")
def bench_overhead(results: ResultsOption = RESULTS) -> None:
    """Workflow wall time x cores over the sum of training times, for every scale that was run."""
    from rich.console import Console

    from wsis.bench.overhead import overhead, show

    show(overhead(results), Console())


@bench_app.command("step")
def bench_step(
    scale: ScaleOption = "tiny",
    steps: int = 40,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    images: Annotated[int | None, typer.Option(help="a step; default: the recipe's batch")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time and peak memory of a training step of SIM beside BoxInst's, and the size of its bank."""
    from wsis.methods.sim.bench import bench

    bench(scale, steps, device, images, as_json)


@bench_app.command("proxy")
def bench_proxy(
    seconds: Annotated[float, typer.Option(help="to measure for")] = 4.0,
    as_json: JsonOption = False,
) -> None:
    """Merging, dropping and writing proxy masks: masks a second on one core, peak memory."""
    from wsis.methods.boxcaseg.bench import bench

    bench(seconds, as_json)


@bench_app.command("extract")
def bench_extract(
    images: Annotated[int, typer.Option(help="images of each kind")] = 20,
    as_json: JsonOption = False,
) -> None:
    """BAISeg's mask extraction at 500 x 375: images a second on one core, by step and number of objects."""
    from wsis.methods.baiseg.bench import bench_extract as bench

    bench(images, as_json)


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
