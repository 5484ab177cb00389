"""A report from a committed metrics.csv alone: the cells of a results folder that isn't there any more."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wsis.errors import WsisError
from wsis.report.collect import COLUMNS
from wsis.report.model import CellResult, Report


class Recorded:
    """The numbers of a metrics.csv, and the runs that they come from.

    Raises WsisError for a file of another form, or of another scale.
    """

    def __init__(self, path: Path, scale: str):
        self._values: dict[tuple[str, str, str], dict[int, tuple[float, str]]] = {}
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = csv.DictReader(file)
                if tuple(lines.fieldnames or ()) != COLUMNS:
                    raise WsisError(f"{path}: expected the columns {', '.join(COLUMNS)}")
                for line in lines:
                    if line["scale"] != scale:
                        raise WsisError(f"{path}: of scale {line['scale']}, not {scale}")
                    row = f"{line['paper']}/{line['table']}", line["row"]
                    cell = self._values.setdefault((*row, line["metric"]), {})
                    cell[int(line["seed"])] = float(line["value"]), line["recipe"]
        except FileNotFoundError:
            raise WsisError(f"{path}: no such file; `wsis report` writes it") from None
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise WsisError(f"{path}: {error}; take the committed file") from None

    @property
    def runs(self) -> set[str]:
        """Ids of the runs behind the numbers."""
        return {run for cell in self._values.values() for _, run in cell.values() if run}

    def fill(self, cell: CellResult, table: str, row: str, metric: str) -> None:
        """Put the recorded values of (table key, row label, metric) into a cell, if there are any."""
        if recorded := self._values.get((table, row, metric)):
            cell.values = {seed: value for seed, (value, _) in sorted(recorded.items())}
            cell.runs |= {seed: run for seed, (_, run) in recorded.items() if run}
            cell.reason, cell.stale = None, False  # which code measured it is not recorded


def measured(told: Mapping[str, Any], report: Report) -> list[str]:
    """Where and by which version of the code the report's tables were measured, as far as measured.json says.

    told: its content. One sentence for all tables of which it says the same; none where it says nothing.
    """
    if not told:
        return []
    groups: dict[str, list[str]] = {}
    for result in report.tables:
        if any(cell.n for cell in result.cells.values()):
            entry = told.get(result.table.key, {})
            commits, hardware = (", ".join(entry.get(name, [])) for name in ("commits", "hardware"))
            words = f"by version {commits}" if commits else "by former versions"
            groups.setdefault(words + (f" on {hardware}" if hardware else ""), []).append(result.table.key)
    others = groups.pop("by former versions", None)
    sentences = [f"{', '.join(keys)} {words}" for words, keys in groups.items()]
    return sentences + ["all others by former versions"] * bool(others)
