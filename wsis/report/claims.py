"""Judge a paper's claims, on the numbers it prints and on the numbers we measured.

A claim is split into comparisons of two cells, each a difference d = row - than - by. Measured differences
are paired by seed. A 95 % interval of their mean (moderated Student-t: `wsis.report.noise`) decides: where it
lies on the claim's side, the claim is reproduced; where it lies on the other side, contradicted; anything
else is inside the noise. The level is that of one comparison; a claim of several needs each of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal

from wsis.declare.table import Cell, Claim, Table
from wsis.errors import WsisError
from wsis.measures.registry import is_exact, readable
from wsis.report.model import VERDICTS, CellResult, ClaimResult, TableResult, Verdict
from wsis.report.noise import Noise, same_images
from wsis.report.stats import Interval, paired

State = Literal["holds", "fails", "open", "missing"]
# Standard errors by which a repetition may move a difference. Leaving out a seed shows which verdicts are
# barely decided, but not which are barely undecided. Of 176 verdicts repeated with three other seeds, 5.5
# differ without being on the edge in either repetition if seeds alone are left out, 1.2 if shifts count, too.
RERUN = 2.0
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
    """What one comparison says. text: in words; n: seeds behind it; absent: rows that were not run."""

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
    noise: Mapping[tuple[str, str], Noise] | None = None,
) -> ClaimResult:
    """The claim's verdict at `scale`. `results` holds every table's cells by '<paper>/<table>'.

    images: run id -> which images it is trained and evaluated on; a comparison across two of them is not run.
    noise: by (paper, metric), as `wsis.report.noise.gather`; plain t-intervals where it has none.

    One seed is inconclusive. A significantly failing comparison contradicts the claim even where others
    were not run; otherwise a missing one leaves it 'not run'. Measured and quoted numbers are compared at
    the scale `paper` only. Raises WsisError for a `peak` whose row is not strictly inside its rows.

    A verdict is on the edge when leaving out one of the seeds changes it, or when moving all its differences
    by RERUN standard errors, up or down, does. `noise` stays that of all seeds: they say how noisy such
    differences are, and the question is whether the claim's differences depend on one seed. One seed decides
    nothing, so with two seeds every decided verdict is on the edge, unless it has no noise. A difference that
    was measured under one seed only is not left out, and puts nothing on the edge.
    """
    comparisons = list(_comparisons(claim, table, results))
    ensemble = (noise or {}).get((table.paper, claim.metric), Noise())

    def outcomes(without: int | None = None, shift: float = 0.0) -> list[Outcome]:
        return [_measured(c, scale, images or {}, ensemble, without, shift) for c in comparisons]

    cells = [side.result for c in comparisons for side in (c.high, c.low) if side.result]
    seeds = {seed for cell in cells for seed in cell.values}
    whole = outcomes()
    verdict, edge = _verdict(whole), ""
    if verdict != "not run":
        fewer = {_verdict(outcomes(without=seed)) for seed in seeds} - {verdict}
        moved = {_verdict(outcomes(shift=shift)) for shift in (-RERUN, RERUN)} - {verdict}
        if others := fewer or moved:
            how = "without one seed" if fewer else f"{RERUN:g} standard errors away"
            words = " or ".join(other for other in VERDICTS if other in others)
            edge = f"; on the edge: {how} it would be {words}"
    printed = [_printed(comparison) for comparison in comparisons]
    published = None if None in printed or not printed else True
    return ClaimResult(
        claim=claim,
        table=table.key,
        verdict=verdict,
        published=False if False in printed else published,
        detail=_detail(whole) + edge,
        n=min((outcome.n for outcome in whole if outcome.n), default=0),
        edge=bool(edge),
    )


def _verdict(outcomes: list[Outcome]) -> Verdict:
    states = [outcome.state for outcome in outcomes]
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
        return Side(name, metric, quoted=False, protocol=table.protocol, result=None)
    row = other.table.row(cell.row)
    protocol = row.protocol or other.table.protocol
    return Side(name, metric, row.kind == "quote", protocol, other.cells.get((cell.row, metric)))


def _printed(comparison: Comparison) -> bool | None:
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


def _measured(
    comparison: Comparison,
    scale: str,
    images: Mapping[str, str],
    noise: Noise,
    without: int | None,
    shift: float,
) -> Outcome:
    """The outcome, moved by `shift` standard errors; the seed `without` is left out if there are others."""
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
    if not same_images(high.result, low.result, images):
        return Outcome("missing", f"{pair} are measured on different images")
    if absent := tuple(side.name for side in (high, low) if not side.quoted and not side.result.values):
        return Outcome("missing", absent=absent)
    values = [_values(high, low.result), _values(low, high.result)]
    differences = {seed: round(d, 9) for seed, d in paired(*values).items()}
    if not differences:
        return Outcome("missing", f"{pair} share no seed")
    if len(differences) > 1:
        differences.pop(without, None)
    if high.metric != low.metric or high.quoted or low.quoted:
        noise = Noise()  # of another kind than the differences of two rows in one metric
    return _decide(comparison, differences, values, scale, noise, shift)


def _values(side: Side, other: CellResult) -> dict[int, float]:
    """Seed -> value; a quoted row's printed number stands for every seed of the other side."""
    return dict.fromkeys(other.values, side.result.published) if side.quoted else side.result.values


def _decide(
    comparison: Comparison,
    differences: dict[int, float],
    values: list[dict[int, float]],
    scale: str,
    noise: Noise,
    shift: float,
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
    exact = is_exact(high.metric) and is_exact(low.metric)
    if n == 1 and not exact and not (same and high.metric == low.metric):
        return Outcome("open", f"{text}, one seed", n)
    bounds = noise.interval(differences.values()) if n > 1 else (next(iter(differences.values())),) * 2
    if shift and n > 1:
        further = shift * noise.error(differences.values())
        bounds = bounds[0] + further, bounds[1] + further
    spread = f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}], n = {n}, df {noise.freedom_of(n):.2g}"
    if bounds[0] == bounds[1]:
        spread = f"exactly, n = {n}"
    return Outcome(_state(bounds, comparison, scale), f"{text} {spread}", n)


def _state(bounds: Interval, comparison: Comparison, scale: str) -> State:
    """Whether the interval lies beyond the margin.

    A margin is in points of the paper's values. At another scale values have another size: there only a
    reversed sign contradicts a claim, and a difference below the margin does not.
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
