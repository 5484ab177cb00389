"""The measured numbers as one tidy file: results/<scale>/metrics.csv."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsis.errors import WsisError
from wsis.files import write_text
from wsis.report.model import Report

if TYPE_CHECKING:  # it takes a second to import
    import pandas

TYPES = {
    "paper": "str", "table": "str", "row": "str", "seed": "int64", "metric": "str", "value": "float64",
    "published": "float64", "recipe": "str", "scale": "str",
}  # fmt: skip
COLUMNS = tuple(TYPES)


def write_metrics(report: Report, path: Path) -> int:
    """Write the report's `metric_lines`; return how many there are."""
    lines = metric_lines(report)
    write_lines(lines, path)
    return len(lines)


def metric_lines(report: Report) -> list[tuple[object, ...]]:
    """One line for each measured (row, metric, seed), in the papers' order.

    The fields are COLUMNS; recipe is the run's id. Values are in full precision; an absent published number
    is None.
    """
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


def write_lines(lines: Iterable[Sequence[object]], path: Path) -> None:
    """Lines of COLUMNS as CSV. The file is written atomically; its missing parent folders are created."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *lines])
    write_text(path, text.getvalue())


def read_metrics(path: Path) -> pandas.DataFrame:
    """A metrics.csv with the columns COLUMNS. Raises WsisError for a file of another form.

    published: NaN where the paper prints no number
    """
    import pandas

    try:
        columns = tuple(pandas.read_csv(path, nrows=0).columns)
        if columns != COLUMNS:
            raise WsisError(f"{path}: expected the columns {', '.join(COLUMNS)}")
        return pandas.read_csv(path, dtype=TYPES)
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file; `wsis report` writes it") from None
    except ValueError as error:
        raise WsisError(f"{path}: {error}") from None
