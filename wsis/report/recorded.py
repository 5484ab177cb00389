"""A report from a committed metrics.csv alone: the cells of a results folder that isn't there any more."""

from __future__ import annotations

import csv
from pathlib import Path

from wsis.errors import WsisError
from wsis.report.collect import COLUMNS
from wsis.report.model import CellResult


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
        except (ValueError, KeyError) as error:
            raise WsisError(f"{path}: {error}") from None

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
