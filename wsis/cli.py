"""The command line: `wsis` or `python -m wsis`. Each command imports what it needs when it runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from wsis import __version__
from wsis.commands.bench import bench_app
from wsis.commands.compare import compare_app
from wsis.commands.data import data_app
from wsis.commands.evaluate import evaluate_app
from wsis.commands.fit import fit_app
from wsis.commands.measure import measure_app
from wsis.commands.official import official_app
from wsis.commands.plan import plan_app
from wsis.commands.predict import predict_app
from wsis.commands.report import report_app
from wsis.commands.share import share_app
from wsis.commands.show import show_app
from wsis.commands.train import train_app
from wsis.commands.verify import verify_app
from wsis.disk import disk_error
from wsis.errors import WsisError, one_line
from wsis.signals import LIMIT, Interrupted, remember, requeue

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def show_version(asked: bool) -> None:
    if asked:
        print(f"wsis {__version__}")
        raise typer.Exit()


def main() -> None:
    """Run the command line; a WsisError or a disk's error becomes one line on stderr and exit code 1.

    A command that a signal stopped has an exit code of its own. At a time limit its job is queued again.
    """
    remember()
    try:
        app(prog_name="wsis")
    except Interrupted as error:
        print(error, file=sys.stderr, flush=True)
        if error.status == LIMIT:
            requeue()
        sys.exit(error.status)
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


app.add_typer(plan_app)
app.add_typer(show_app)
app.add_typer(train_app)
app.add_typer(evaluate_app)
app.add_typer(measure_app)
app.add_typer(fit_app)
app.add_typer(report_app)
app.add_typer(verify_app)
app.add_typer(share_app)
app.add_typer(predict_app)
app.add_typer(compare_app)
app.add_typer(official_app)
app.add_typer(data_app, name="data")
app.add_typer(bench_app, name="bench")
