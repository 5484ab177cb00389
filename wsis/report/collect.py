"""The measured numbers as one tidy file: results/<scale>/metrics.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from wsis.files import write_text
from wsis.report.model import Report

COLUMNS = ("paper", "table", "row", "seed", "metric", "value", "published", "recipe", "scale")


def write_metrics(report: Report, path: Path) -> int:
    """Write one line for each measured (row, metric, seed) as CSV, in the papers' order; return how many.

    The columns are COLUMNS; recipe is the run's id. Values are in full precision; an absent published number
    is an empty field. The file is written atomically; its missing parent folders are created.
    """
    lines = [
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
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *lines])
    write_text(path, text.getvalue())
    return len(lines)
