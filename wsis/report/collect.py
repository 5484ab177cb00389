"""The measured numbers as one tidy file: results/<scale>/metrics.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

from wsis.errors import WsisError
from wsis.files import write_text
from wsis.report.model import Report

if TYPE_CHECKING:  # pandas takes a second to import; only these functions need it
    import pandas

TYPES = {
    "paper": "str", "table": "str", "row": "str", "seed": "int64", "metric": "str", "value": "float64",
    "published": "float64", "recipe": "str", "scale": "str",
}  # fmt: skip
COLUMNS = tuple(TYPES)


def collect(report: Report) -> pandas.DataFrame:
    """One line for each measured (row, metric, seed), in the papers' order, with the columns COLUMNS.

    published: NaN where the paper prints no number; recipe: the run's id.
    """
    import pandas

    return pandas.DataFrame(_lines(report), columns=list(COLUMNS)).astype(TYPES)


def _lines(report: Report) -> list[tuple]:
    return [
        (
            result.table.paper,
            result.table.table,
            label,
            seed,
            metric,
            value,
            cell.published,
            cell.runs.get(seed),
            report.scale,
        )
        for result in report.tables
        for (label, metric), cell in result.cells.items()
        for seed, value in cell.values.items()
    ]


def write_metrics(report: Report, path: Path) -> int:
    """Write `collect(report)` as CSV, atomically and in full precision; returns the number of lines.

    An absent published number is an empty field. Parents of `path` are made.
    """
    lines, text = _lines(report), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")  # as pandas writes it, which takes a second to import
    writer.writerows([COLUMNS, *lines])
    write_text(path, text.getvalue())
    return len(lines)


def read_metrics(path: Path) -> pandas.DataFrame:
    """A metrics.csv as `collect` gives it. Raises WsisError for a file of another form."""
    import pandas

    try:
        columns = tuple(pandas.read_csv(path, nrows=0).columns)
        if columns != COLUMNS:
            raise WsisError(f"{path}: expected the columns {', '.join(COLUMNS)}")
        return pandas.read_csv(path, dtype=TYPES)
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file; `wsis collect` writes it") from None
    except ValueError as error:
        raise WsisError(f"{path}: {error}") from None
