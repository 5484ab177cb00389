"""Judge a paper's claims, on the numbers it prints and on the numbers we measured.

A claim falls apart into comparisons of two cells, a difference d = row - than - by each. Measured
differences are paired by seed, and a 95 % Student-t interval of their mean decides: all of it on the
claim's side reproduces, all of it on the other side contradicts, anything else is inside the noise. The
level is that of one comparison; a claim made of several needs each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from wsis.declare.table import COST_MEASURES, Cell, Claim, Table
from wsis.errors import WsisError
from wsis.report.measures import readable
from wsis.report.model import CellResult, ClaimResult, TableResult, Verdict
from wsis.report.stats import Interval, paired, t_interval

# Metrics that no training decides: measured once, they have no noise over seeds.
EXACT = ("prop", "GFLOPs", "params", *COST_MEASURES)
State = Literal["holds", "fails", "open", "missing"]
_SHOWN = 4  # comparisons spelt out in a detail


@dataclass(frozen=True)
class Side:
    """A cell as a comparison sees it. `result` is None where the plan has no such cell."""

    name: str
    metric: str
    quoted: bool
    protocol: str
    result: CellResult | None


@dataclass(frozen=True)
class Comparison:
    """`high` above `low` by more than `by`; or, with `within`, the two closer together than `within`."""

    high: Side
    low: Side
    by: float = 0.0
    within: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What one comparison says: in words, or the rows that were not run; n seeds are behind it."""

    state: State
    text: str = ""
    n: int = 0
    absent: tuple[str, ...] = ()


def judge(
    claim: Claim,
    table: Table,
    results: Mapping[str, TableResult],
    scale: str,
    images: Mapping[str, str] | None = None,
) -> ClaimResult:
    """The claim's verdict at `scale`. `results` holds every table's cells by '<paper>/<table>'.

    images: run id -> which images it is trained and evaluated on; a comparison across two of them is not run.

    One seed is inconclusive. A significantly failing comparison contradicts the claim even where others
    were not run; otherwise a missing one leaves it 'not run'. Measured and quoted numbers are compared at
    the scale `paper` only. Raises WsisError for a `peak` whose row is not strictly inside its rows.
    """
    comparisons = list(_comparisons(claim, table, results))
    outcomes = [_measured(comparison, scale, images or {}) for comparison in comparisons]
    printed = [_printed(comparison) for comparison in comparisons]
    published = None if None in printed or not printed else True
    return ClaimResult(
        claim=claim,
        table=table.key,
        verdict=_verdict([outcome.state for outcome in outcomes]),
        published=False if False in printed else published,
        detail=_detail(outcomes),
        n=min((outcome.n for outcome in outcomes if outcome.n), default=0),
    )


def _verdict(states: list[State]) -> Verdict:
    if "fails" in states:
        return "contradicted"
    if "missing" in states or not states:
        return "not run"
    return "inconclusive" if "open" in states else "reproduced"


def _comparisons(claim: Claim, table: Table, results: Mapping[str, TableResult]) -> Iterator[Comparison]:
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
            own = side(claim.row)
            for rival in (side(Cell(row=label)) for label in _rivals(claim, table)):
                high, low = (own, rival) if claim.kind == "best" else (rival, own)
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
        return Side(name, metric, quoted=False, protocol=table.protocol, result=None)
    row = other.table.row(cell.row)
    protocol = row.protocol or other.table.protocol
    return Side(name, metric, row.kind == "quote", protocol, other.cells.get((cell.row, metric)))


def _printed(comparison: Comparison) -> bool | None:
    """Does the paper's table satisfy it, whatever the digits that rounding hid? None: it can't be told."""
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


def _measured(comparison: Comparison, scale: str, images: Mapping[str, str]) -> Outcome:
    high, low = comparison.high, comparison.low
    pair = f"{high.name} and {low.name}"
    if missing := [side.name for side in (high, low) if side.result is None]:
        return Outcome("missing", f"{' and '.join(missing)}: not part of this plan")
    if high.quoted and low.quoted:
        return Outcome("missing", f"{pair} are both quoted: nothing is measured")
    if high.protocol != low.protocol:
        return Outcome("missing", f"{pair} follow different protocols ({high.protocol}, {low.protocol})")
    for side in (high, low):
        if side.quoted and scale != "paper":
            return Outcome(
                "missing", f"{side.name} is quoted: compared with measured numbers at scale paper only"
            )
        if side.quoted and side.result.published is None:
            return Outcome("missing", f"the paper prints no {side.metric} for {side.name}")
    shared = high.result.runs.keys() & low.result.runs.keys()
    if any(images.get(high.result.runs[s]) != images.get(low.result.runs[s]) for s in shared):
        return Outcome("missing", f"{pair} are measured on different images")
    if absent := tuple(side.name for side in (high, low) if not side.quoted and not side.result.values):
        return Outcome("missing", absent=absent)
    values = [_values(high, low.result), _values(low, high.result)]
    differences = {seed: round(d, 9) for seed, d in paired(*values).items()}
    if not differences:
        return Outcome("missing", f"{pair} share no seed")
    return _decide(comparison, differences, values, scale)


def _values(side: Side, other: CellResult) -> dict[int, float]:
    """Seed -> value; a quoted row's printed number stands for every seed of the other side."""
    return dict.fromkeys(other.values, side.result.published) if side.quoted else side.result.values


def _decide(
    comparison: Comparison, differences: dict[int, float], values: list[dict[int, float]], scale: str
) -> Outcome:
    high, low, n = comparison.high, comparison.low, len(differences)
    text = f"{high.name} - {low.name} = {sum(differences.values()) / n:+.2f}"
    if comparison.by:
        text += f" (more than {comparison.by:g} wanted)"
    if comparison.within is not None:
        text += f" (within {comparison.within:g} wanted)"
        if not any(values[side][seed] for side in (0, 1) for seed in differences):
            return Outcome("open", f"{text}: both are 0 in every seed", n)
    same = all(high.result.runs.get(s, "") == low.result.runs.get(s) for s in differences)
    if n == 1 and not (same and high.metric == low.metric) and not {high.metric, low.metric} <= set(EXACT):
        return Outcome("open", f"{text}, one seed", n)
    bounds = t_interval(differences.values()) if n > 1 else (*differences.values(), *differences.values())
    spread = "exactly" if bounds[0] == bounds[1] else f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}]"
    return Outcome(_state(bounds, comparison, scale), f"{text} {spread}, n = {n}", n)


def _state(bounds: Interval, comparison: Comparison, scale: str) -> State:
    """Whether the interval lies beyond the margin.

    A margin in points is the paper's, at the paper's values. Where other data and networks have values of
    another size, falling short of it contradicts nothing; only a reversed sign does.
    """
    least, most = bounds
    if (within := comparison.within) is not None:
        if -within < least and most < within:
            return "holds"
        return "fails" if least >= within or most <= -within else "open"
    if least > comparison.by:
        return "holds"
    return "fails" if most < (comparison.by if scale == "paper" else min(comparison.by, 0.0)) else "open"


def _detail(outcomes: list[Outcome]) -> str:
    """Every comparison where they are few; else how many hold and the first that do not."""
    absent = dict.fromkeys(name for outcome in outcomes for name in outcome.absent)
    parts = [f"not run: {', '.join(absent)}"] if absent else []
    if len(outcomes) <= _SHOWN:
        return "; ".join([outcome.text for outcome in outcomes if outcome.text] + parts)
    order = {"fails": 0, "open": 1, "missing": 2}
    rest = sorted((o for o in outcomes if o.state != "holds"), key=lambda outcome: order[outcome.state])
    told = [outcome.text for outcome in rest if outcome.text]
    if len(told) > _SHOWN:
        told[_SHOWN:] = [f"and {len(told) - _SHOWN} more"]
    held = f"{len(outcomes) - len(rest)} of {len(outcomes)} comparisons hold"
    return "; ".join([held, *told, *parts])
