"""What `wsis complexity` does: the costs of the networks behind the tables that print any."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from wsis.declare.load import ROOT
from wsis.declare.resolve import published_recipe
from wsis.declare.table import COST_MEASURES, Table
from wsis.errors import WsisError
from wsis.files import write_json

if TYPE_CHECKING:
    from wsis.methods.baiseg.complexity import Kind

COLUMNS = frozenset({"GFLOPs", "params", *COST_MEASURES})
KINDS: dict[str, Kind] = {
    "baiseg/3": "module",
    "baiseg/4": "module",
    "baiseg/5": "module",
    "baiseg/6": "network",
}


def measure_complexity(tables: dict[str, Table], path: Path, root: Path = ROOT) -> None:
    """Write the costs of every trained row of those `tables` that have cost columns, the papers' or ours.

    path: one JSON, {"<paper>/<table>": {"<row label>": what `wsis.methods.baiseg.complexity` returns}}; its
    folder is made. The networks are those of the paper's recipes, whatever the scale. Raises WsisError for a
    table with cost columns of which it isn't known what they count.
    """
    from wsis.methods.baiseg.complexity import complexity

    found: dict[str, dict[str, dict[str, float]]] = {}
    for key, table in tables.items():
        if not COLUMNS & set(table.metrics):
            continue
        if key not in KINDS:
            raise WsisError(
                f"{key}: has the columns {', '.join(sorted(COLUMNS & set(table.metrics)))}, and"
                " wsis/methods/baiseg/complexity_job.py does not say whether they count a module or a network"
            )
        rows = [row for row in table.rows if row.kind == "train"]
        found[key] = {row.label: complexity(published_recipe(table, row, root), KINDS[key]) for row in rows}
    write_json(path, found)
