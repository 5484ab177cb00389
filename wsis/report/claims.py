"""Judge a paper's claims, on the numbers it prints and on the numbers we measured.

A claim is split into comparisons of two cells, each a difference d = row - than - by. Measured differences
are paired by seed. A 95 % interval of their mean (moderated Student-t: `wsis.report.noise`) decides: where it
lies on the claim's side, the claim is reproduced; where it lies on the other side, contradicted; anything
else is inside the noise. The level is that of one comparison; a claim of several needs each of them. Rows
that share their runs, or are equal in every seed, say nothing about each other: such a claim is untestable.
`wsis.report.many` corrects the verdicts of all claims together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from wsis.declare.table import Claim, Table
from wsis.measures.registry import is_exact
from wsis.report.comparisons import Comparison, Side, comparisons_of, printed
from wsis.report.model import VERDICTS, CellResult, ClaimResult, Evidence, TableResult, Verdict
from wsis.report.noise import Noise, same_images
from wsis.report.stats import Interval, paired, t_tail

State = Literal["holds", "fails", "open", "tie", "missing"]
# Standard errors by which a repetition may move a difference. Leaving out a seed shows which verdicts are
# barely decided, but not which are barely undecided. Of 176 verdicts repeated with three other seeds, 5.5
# differ without being on the edge in either repetition if seeds alone are left out, 1.2 if shifts count, too.
RERUN = 2.0
OF_TESTS = ("reproduced", "contradicted", "inconclusive")  # verdicts that a test gives
_SHOWN = 4  # comparisons spelt out in a detail


@dataclass(frozen=True)
class Outcome:
    """What one comparison says.

    text    in words
    n       seeds behind it
    absent  rows that were not run
    chance  two-sided p of the comparison holding and of its failing; None where nothing random decides
    tested  what its decision depends on, where it is a test
    """

    state: State
    text: str = ""
    n: int = 0
    absent: tuple[str, ...] = ()
    chance: tuple[float, float] | None = None
    tested: Evidence | None = None


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

    One seed is inconclusive. Rows of the same runs, or equal in every seed, make a claim untestable. A
    significantly failing comparison contradicts the claim even where others were not run; otherwise a missing
    one leaves it 'not run'. Measured and quoted numbers are compared at the scale `paper` only. Raises
    WsisError for a `peak` whose row is not strictly inside its rows.

    A verdict is on the edge when leaving out one of the seeds changes it, or when moving all its differences
    by RERUN standard errors, up or down, does. `noise` stays that of all seeds: they say how noisy such
    differences are, and the question is whether the claim's differences depend on one seed. One seed decides
    nothing, so with two seeds every decided verdict is on the edge, unless it has no noise. A difference that
    was measured under one seed only is not left out, and puts nothing on the edge.
    """
    comparisons = list(comparisons_of(claim, table, results))
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
    in_print = [printed(comparison) for comparison in comparisons]
    published = None if None in in_print or not in_print else True
    return ClaimResult(
        claim=claim,
        table=table.key,
        verdict=verdict,
        published=False if False in in_print else published,
        detail=_detail(whole) + edge,
        n=min((outcome.n for outcome in whole if outcome.n), default=0),
        edge=bool(edge),
        chance=_chance(whole) if verdict in OF_TESTS else None,
        tested=[o.tested for o in whole if o.tested and (o.state == "open" or verdict != "inconclusive")],
        places=tuple(dict.fromkeys(side.place for c in comparisons for side in (c.high, c.low))),
    )


def _verdict(outcomes: list[Outcome]) -> Verdict:
    states = [outcome.state for outcome in outcomes]
    if "fails" in states:
        return "contradicted"
    if "missing" in states or not states:
        return "not run"
    if "tie" in states:
        return "untestable"
    return "inconclusive" if "open" in states else "reproduced"


def _chance(outcomes: list[Outcome]) -> float | None:
    """Two-sided p of a claim; None where one seed, or numbers without noise, are all there is.

    It is the smaller of two. All comparisons hold: the largest of their p, an intersection-union test. Some
    comparison fails: the smallest, times how many there are (Bonferroni).
    """
    tested = [outcome for outcome in outcomes if outcome.chance]
    if not tested:
        return None
    hold = max(outcome.chance[0] for outcome in tested)
    if any(outcome.state == "fails" for outcome in outcomes if not outcome.chance):
        hold = 1.0
    fail = min(outcome.chance[1] for outcome in tested) * len(tested)
    return min(1.0, hold, fail)


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
    same = all(high.result.runs.get(s, "") == low.result.runs.get(s) for s in differences)
    if same and high.metric == low.metric:
        return Outcome("tie", f"{high.name} and {low.name} are the same runs: no test", n)
    if not any(differences.values()):
        zero = not any(values[side][seed] for side in (0, 1) for seed in differences)
        return Outcome("tie", f"{text}: {'both are 0' if zero else 'equal'} in every seed, no test", n)
    if is_exact(high.metric) and is_exact(low.metric) and n == 1:
        value = next(iter(differences.values()))
        return Outcome(_state((value, value), comparison, scale), f"{text} exactly, n = 1", n)
    if n == 1:
        return Outcome("open", f"{text}, one seed", n)
    bounds, error = noise.interval(differences.values()), noise.error(differences.values())
    bounds = bounds[0] + shift * error, bounds[1] + shift * error
    spread = f"[{bounds[0]:+.2f}, {bounds[1]:+.2f}], n = {n}, df {noise.freedom_of(n):.2g}"
    if not error:
        spread = f"exactly, n = {n}"
    centre = sum(differences.values()) / n
    tested = Evidence(
        f"{high.name} - {low.name}", n, error * math.sqrt(n), noise.freedom, centre, comparison.published,
        _floor(comparison, scale), comparison.by, comparison.within,
    )  # fmt: skip
    chance = _chances(centre, error, noise.freedom_of(n), comparison, scale)
    state = _state(bounds, comparison, scale)
    return Outcome(state, f"{text} {spread}", n, (), chance, tested if error else None)


def _chances(
    centre: float, error: float, freedom: float, comparison: Comparison, scale: str
) -> tuple[float, float]:
    """Two-sided p with which the interval of a mean just lies beyond the margin, and just against it."""

    def above(value: float) -> float:
        return min(1.0, 2 * t_tail(value / error, freedom)) if error else float(value <= 0)

    if (within := comparison.within) is not None:
        return max(above(within - centre), above(within + centre)), above(abs(centre) - within)
    return above(centre - comparison.by), above(_floor(comparison, scale) - centre)


def _floor(comparison: Comparison, scale: str) -> float:
    """The difference below which `row` - `than` contradicts.

    A margin is in points of the paper's values. At another scale values have another size: there only a
    reversed sign contradicts a claim, and a difference below the margin does not.
    """
    return comparison.by if scale == "paper" else min(comparison.by, 0.0)


def _state(bounds: Interval, comparison: Comparison, scale: str) -> State:
    """Whether the interval lies beyond the margin."""
    least, most = bounds
    if (within := comparison.within) is not None:
        if -within < least and most < within:
            return "holds"
        return "fails" if least >= within or most <= -within else "open"
    if least > comparison.by:
        return "holds"
    return "fails" if most < _floor(comparison, scale) else "open"


def _detail(outcomes: list[Outcome]) -> str:
    """Every comparison where they are few; else how many hold and the first that do not."""
    absent = dict.fromkeys(name for outcome in outcomes for name in outcome.absent)
    parts = [f"not run: {', '.join(absent)}"] if absent else []
    if len(outcomes) <= _SHOWN:
        return "; ".join([outcome.text for outcome in outcomes if outcome.text] + parts)
    order = {"fails": 0, "tie": 1, "open": 2, "missing": 3}
    rest = sorted((o for o in outcomes if o.state != "holds"), key=lambda outcome: order[outcome.state])
    told = [outcome.text for outcome in rest if outcome.text]
    if len(told) > _SHOWN:
        told[_SHOWN:] = [f"and {len(told) - _SHOWN} more"]
    held = f"{len(outcomes) - len(rest)} of {len(outcomes)} comparisons hold"
    return "; ".join([held, *told, *parts])
