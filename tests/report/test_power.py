"""Predicted seeds against simulated verdicts, and against the power of the t test."""

from __future__ import annotations

import numpy
import pytest
from scipy import stats

from wsis.report.model import Evidence
from wsis.report.power import MOST, POWER, decision_of, resolved_by, seeds_wanted


def evidence(**changes) -> Evidence:
    fields = {"pair": "a - b", "n": 3, "spread": 1.0, "freedom": 0.0, "mean": 0.4, "published": 1.5}
    return Evidence(**{**fields, "floor": 0.0, "by": 0.0, "within": None, **changes})


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_resolved_effect_is_found_four_times_of_five(n: int) -> None:
    draw = numpy.random.default_rng(n)
    effect = resolved_by(evidence(), n, 0.05)
    values = draw.normal(effect, 1.0, size=(4000, n))
    found = stats.ttest_1samp(values, 0, axis=1)
    assert numpy.mean((found.pvalue < 0.05) & (found.statistic > 0)) == pytest.approx(POWER, abs=0.025)


def test_seeds_are_the_fewest_that_resolve_the_effect() -> None:
    for effect in (0.7, 1.0, 2.0, 5.0):
        n = seeds_wanted(evidence(), effect, 0.05)
        assert resolved_by(evidence(), n, 0.05) <= effect
        assert n == 2 or resolved_by(evidence(), n - 1, 0.05) > effect
        assert seeds_wanted(evidence(), effect, 0.01) >= n


def test_a_margin_counts_from_its_own_place() -> None:
    assert seeds_wanted(evidence(by=1.0), 2.0, 0.05) == seeds_wanted(evidence(), 1.0, 0.05)
    assert seeds_wanted(evidence(by=1.0), 1.0, 0.05) is None  # never told from the margin
    assert seeds_wanted(evidence(by=1.0), -1.0, 0.05) == seeds_wanted(evidence(), 1.0, 0.05)  # contradicts
    assert seeds_wanted(evidence(), 0.01, 0.05) is None  # more than MOST
    assert resolved_by(evidence(), MOST, 0.05) > 0.01


def test_closeness_wants_both_sides() -> None:
    n = seeds_wanted(evidence(within=1.0), 0.0, 0.05)
    values = numpy.random.default_rng(2).normal(0.0, 1.0, size=(4000, n))
    half = stats.t.ppf(0.975, n - 1) * values.std(axis=1, ddof=1) / n**0.5
    inside = numpy.abs(values.mean(axis=1)) + half < 1.0
    assert POWER - 0.02 < inside.mean() < POWER + 0.12
    assert seeds_wanted(evidence(within=1.0), 3.0, 0.05) == seeds_wanted(evidence(), 2.0, 0.05)


def test_borrowed_freedom_saves_seeds_and_what_is_wanted_is_more_than_there_are() -> None:
    alone, helped = evidence(), evidence(freedom=20.0)
    assert seeds_wanted(helped, 1.5, 0.05) < seeds_wanted(alone, 1.5, 0.05)
    decision = decision_of(alone, 0.05)
    assert decision.wanted == decision.seeds > alone.n
    enough = decision_of(evidence(published=30.0), 0.05)  # resolved already: the effect here is smaller
    assert enough.seeds <= 3 and enough.wanted == enough.observed > 3
    assert decision_of(evidence(published=None, mean=0.0), 0.05).wanted is None
