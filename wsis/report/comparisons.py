"""A claim split into comparisons of two cells, each a difference of row - than - by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise

from wsis.declare.table import Cell, Claim, Table
from wsis.errors import WsisError
from wsis.measures.registry import readable
from wsis.report.model import CellResult, TableResult


@dataclass(frozen=True)
class Side:
    """A cell as a comparison sees it. `result` is None where the plan has no such cell."""

    name: str
    metric: str
    quoted: bool
    protocol: str
    result: CellResult | None
    place: tuple[str, str] = ("", "")  # (table key, row label)


@dataclass(frozen=True)
class Comparison:
    """`high` above `low` by more than `by`; or, with `within`, the two closer together than `within`."""

    high: Side
    low: Side
    by: float = 0.0
    within: float | None = None

    @property
    def published(self) -> float | None:
        """The printed difference; None where one of the cells is not printed."""
        values = [side.result.published if side.result else None for side in (self.high, self.low)]
        return None if None in values else round(values[0] - values[1], 9)


def comparisons_of(claim: Claim, table: Table, results: Mapping[str, TableResult]) -> Iterator[Comparison]:
    """The differences that a claim asserts. Raises WsisError for a `peak` whose row is an end of its rows."""

    def side(cell: Cell) -> Side:
        return _side(cell, claim, table, results)

    rows = [side(cell) for cell in claim.rows]
    match claim.kind:
        case "greater":
            yield Comparison(side(claim.row), side(claim.than), by=claim.by)
        case "lower":
            yield Comparison(side(claim.than), side(claim.row), by=claim.by)
        case "near":
            yield Comparison(side(claim.row), side(claim.than), within=claim.within)
        case "best" | "worst":
            named = side(claim.row)
            for rival in (side(Cell(row=label)) for label in _rivals(claim, table)):
                high, low = (named, rival) if claim.kind == "best" else (rival, named)
                yield Comparison(high, low, by=claim.by)
        case "monotone":
            for before, after in pairwise(rows):
                high, low = (after, before) if claim.direction == "up" else (before, after)
                yield Comparison(high, low, by=claim.by)
        case "peak":
            names = [row.name for row in rows]
            name = side(claim.row).name
            if name not in names[1:-1]:
                raise WsisError(
                    f"{table.key}: claim '{claim.id}': {name} must lie strictly inside its 'rows'"
                )
            top = names.index(name)
            for i, (before, after) in enumerate(pairwise(rows)):
                yield Comparison(after, before) if i < top else Comparison(before, after)
        case "insensitive":
            for first, second in combinations(rows, 2):
                yield Comparison(first, second, within=claim.within)


def _rivals(claim: Claim, table: Table) -> list[str]:
    labels = claim.among or tuple(row.label for row in table.rows if row.kind == "train" and not row.ours)
    home = claim.row.table or table.key
    return [label for label in labels if home != table.key or label != claim.row.row]


def _side(cell: Cell, claim: Claim, table: Table, results: Mapping[str, TableResult]) -> Side:
    key, metric = cell.table or table.key, cell.metric or claim.metric
    name = f"'{cell.row}'" if key == table.key else f"'{cell.row}' of {key}"
    if metric != claim.metric:
        name += f" ({readable(metric)})"
    other = results.get(key)
    if other is None:
        return Side(name, metric, False, table.protocol, None, (key, cell.row))
    row = other.table.row(cell.row)
    protocol = row.protocol or other.table.protocol
    return Side(
        name, metric, row.kind == "quote", protocol, other.cells.get((cell.row, metric)), (key, cell.row)
    )


def printed(comparison: Comparison) -> bool | None:
    """True if the paper's table satisfies it whatever the digits before rounding; None if that is open."""
    high, low = comparison.high.result, comparison.low.result
    if high is None or low is None or high.interval is None or low.interval is None:
        return None
    # Both ends are open: the upper end of a rounding interval is never reached.
    least = round(high.interval[0] - low.interval[1], 9)
    most = round(high.interval[1] - low.interval[0], 9)
    if (within := comparison.within) is not None:
        if -within <= least and most <= within:
            return True
        return False if least >= within or most <= -within else None
    if least >= comparison.by:
        return True
    return False if most <= comparison.by else None
