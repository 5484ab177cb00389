"""Power: how many seeds would decide an inconclusive claim, and what they cost.

The test is the verdict's: a two-sided t of paired differences with d0 + n - 1 degrees of freedom, at the
level that the correction for many claims leaves. Its power is that of the noncentral t.
"""

from __future__ import annotations

import math

from wsis.plan import Plan
from wsis.report.model import ClaimResult, Decision, Evidence
from wsis.report.stats import t_quantile

POWER = 0.8
MOST = 200  # seeds; where more are wanted, nobody runs them


def fill_decisions(claims: list[ClaimResult], plan: Plan, level: float) -> None:
    """What would decide each inconclusive claim: of its comparisons, the one that wants the most seeds."""
    for claim in claims:
        if claim.final == "inconclusive" and claim.tested:
            decisions = [decision_of(each, level) for each in claim.tested]
            claim.decision = max(decisions, key=lambda d: (d.wanted is None, d.wanted or 0))
            _price(claim, claim.decision, plan)


def decision_of(tested: Evidence, level: float) -> Decision:
    """Of one comparison. Without a printed effect, the seeds are those for the measured one alone."""
    printed = None if tested.published is None else seeds_wanted(tested, tested.published, level)
    observed = seeds_wanted(tested, tested.mean, level)
    wanted = printed if printed is not None and printed > tested.n else observed
    if wanted is not None and wanted <= tested.n:
        wanted = None
    return Decision(tested.pair, tested.n, resolved_by(tested, tested.n, level), printed, observed, wanted)


def resolved_by(tested: Evidence, n: int, level: float) -> float:
    """The smallest distance from the margin that n seeds detect with a power of 80 %."""
    low, high = 0.0, tested.spread
    while _power(high, tested, n, level) < POWER:
        high *= 2
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(middle, tested, n, level) < POWER else (low, middle)
    return high


def seeds_wanted(tested: Evidence, effect: float, level: float) -> int | None:
    """Fewest seeds that decide with a power of 80 % if `effect` is true; None where more than MOST would."""
    if (within := tested.within) is not None:
        outside = abs(effect) - within
        sides = [outside] if outside > 0 else [within - effect, within + effect]
    else:
        sides = [max(effect - tested.by, tested.floor - effect)]

    def decides(n: int) -> bool:  # both sides at once, by Bonferroni's inequality
        return 1 - sum(1 - _power(side, tested, n, level) for side in sides) >= POWER

    if min(sides) <= 0 or not decides(MOST):
        return None
    low, high = 1, MOST  # one seed decides nothing
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high


def _power(distance: float, tested: Evidence, n: int, level: float) -> float:
    """Probability that n seeds put the interval beyond a margin at this distance from the true effect."""
    from scipy.special import nctdtr  # imported late: scipy costs a second

    freedom = tested.freedom + n - 1
    centre = distance * math.sqrt(n) / tested.spread
    if centre > 100:  # beyond it the noncentral t is not computed
        return 1.0
    return 1 - float(nctdtr(freedom, centre, t_quantile(1 - level / 2, freedom)))


def _price(claim: ClaimResult, decision: Decision, plan: Plan) -> None:
    """The hours and the command of the seeds that are missing, of the tables whose rows are compared."""
    if decision.wanted is None:
        return
    tables = list(dict.fromkeys(table for table, _ in claim.places))
    there = plan.seeds_of(plan.tables[claim.table].paper)
    runs = [plan.runs[run] for run in plan.with_needed(plan.wanted(tables))]
    decision.hours = (decision.wanted - decision.n) * sum(r.device_hours for r in runs if r.seed == there[0])
    last = max(there)
    seeds = [*there, *range(last + 1, last + 1 + decision.wanted - len(there))]
    names = " ".join(table.replace("/", "_") for table in tables)
    decision.command = (
        f"wsis reproduce {names} --scale {plan.scale.name} 'seeds=[{','.join(map(str, seeds))}]'"
    )
    if plan.scale.data == "root":
        decision.command += " data_root=PATH"
