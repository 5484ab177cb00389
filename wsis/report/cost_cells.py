"""The cells of costs (GFLOPs, parameters): counted on the papers' own networks, whatever the scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.declare.table import COST_MEASURES, Row, Table
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.report.model import CellResult

COSTS = frozenset({"GFLOPs", "params", *COST_MEASURES})


def read_costs(path: Path) -> dict[str, Any]:
    """What `wsis complexity` wrote; empty where it has not run."""
    return read_json(path) if path.exists() else {}


def cost_cell(
    table: Table, row: Row, metric: str, seed: int, runs: dict[int, str], costs: dict[str, Any], command: str
) -> CellResult:
    """One number a row, under the first seed: nothing about it is random.

    command: what fills a cell that is not counted yet. Raises WsisError for a file of another form.
    """
    cell = CellResult(runs={seed: runs[seed]} if seed in runs else {})
    counted = costs.get(table.key, {}).get(row.label)
    if counted is None or metric not in counted:
        cell.reason = f"not run: {command}"
        return cell
    try:
        cell.values = {seed: float(counted[metric])}
    except (TypeError, ValueError) as error:
        raise WsisError(f"complexity.json: {table.key}, {row.label}: no {metric}: {error!r}") from None
    return cell
