"""The measured numbers as one tidy file: results/<scale>/metrics.csv."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from wsis.errors import WsisError
from wsis.evaluation.files import write_bytes
from wsis.report.model import Report

COLUMNS = ("paper", "table", "row", "seed", "metric", "value", "published", "recipe", "scale")


def collect(report: Report) -> list[dict[str, Any]]:
    """One dictionary with the keys COLUMNS for each measured (row, metric, seed), in the papers' order.

    seed int; value float; published float or None where the paper prints no number; recipe: the run's id.
    """
    return [
        {
            "paper": result.table.paper,
            "table": result.table.table,
            "row": label,
            "seed": seed,
            "metric": metric,
            "value": value,
            "published": cell.published,
            "recipe": cell.runs.get(seed),
            "scale": report.scale,
        }
        for result in report.tables
        for (label, metric), cell in result.cells.items()
        for seed, value in cell.values.items()
    ]


def write_metrics(report: Report, path: Path) -> int:
    """Write `collect(report)` as CSV, atomically and in full precision; returns the number of lines.

    An absent published number is an empty field. Parents of `path` are made.
    """
    rows = collect(report)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.getvalue().encode())
    return len(rows)


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.csv as `collect` gives them. Raises WsisError for a file of another form."""
    try:
        lines = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file; `wsis collect` writes it") from None
    if tuple(lines.fieldnames or ()) != COLUMNS:
        raise WsisError(f"{path}: expected the columns {', '.join(COLUMNS)}")
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            rows.append(
                line
                | {
                    "seed": int(line["seed"]),
                    "value": float(line["value"]),
                    "published": float(line["published"]) if line["published"] else None,
                    "recipe": line["recipe"] or None,
                }
            )
        except (TypeError, ValueError) as error:
            raise WsisError(f"{path}: line {number}: {error}") from None
    return rows
