"""Rounding intervals, spread, confidence intervals and rank agreement, against independent formulations."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from scipy import stats as reference

from wsis.report.stats import (
    decimals,
    kendall_tau_b,
    mean,
    paired,
    published_interval,
    sample_std,
    t_interval,
)


@pytest.mark.parametrize(
    ("value", "digits"), [(30.7, 1), (30.0, 1), (0.35, 2), (94, 0), (-1.5, 1), (25.35, 2)]
)
def test_interval_holds_what_prints_as_the_value(value: float, digits: int) -> None:
    low, high = published_interval(value, digits)
    step = 10**-digits
    for share in (-0.49, -0.2, 0.0, 0.3, 0.49):
        inside = value + share * step
        assert low <= inside < high
        assert float(f"{inside:.{digits}f}") == value
    for share in (-0.51, 0.51, 1.0):
        outside = value + share * step
        assert not low <= outside < high
        assert float(f"{outside:.{digits}f}") != value


def test_interval_is_exact_and_neighbours_touch() -> None:
    assert published_interval(30.7, 1) == (30.65, 30.75)
    for tenths in range(1000):
        assert published_interval(tenths / 10, 1)[1] == published_interval((tenths + 1) / 10, 1)[0]


def test_decimals_are_those_of_the_column() -> None:
    assert decimals([30.0, 30.7, None]) == 1
    assert decimals([30, 31]) == 0
    assert decimals([0.5, 0.25, 1e-3]) == 3
    assert decimals([100.0, 20]) == 0
    assert decimals([None]) == 0


def test_mean_and_spread() -> None:
    values = [30.1, 29.4, 31.7]
    assert mean(values) == pytest.approx(statistics.mean(values))
    assert sample_std(values) == pytest.approx(statistics.stdev(values))
    assert mean([]) is None and sample_std([]) is None and sample_std([1.0]) is None
    assert sample_std([0.1] * 3) == 0.0


def test_paired_uses_shared_seeds_only() -> None:
    assert paired({2: 5.0, 0: 1.0, 7: 9.0}, {0: 3.0, 2: 4.0, 5: 0.0}) == {0: -2.0, 2: 1.0}


@pytest.mark.parametrize("n", [2, 3, 5, 12])
def test_interval_is_that_of_the_t_test(n: int) -> None:
    draw = random.Random(n)
    values = [draw.gauss(1.0, 2.0) for _ in range(n)]
    expected = reference.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))


def test_interval_of_identical_values_is_a_point_and_one_value_has_none() -> None:
    assert t_interval([0.1, 0.1, 0.1]) == (0.1, 0.1)
    with pytest.raises(ValueError):
        t_interval([1.0])


def test_kendall_agrees_with_scipy_ties_included() -> None:
    draw = random.Random(0)
    for n, _ in itertools.product(range(2, 9), range(40)):
        x = [draw.randrange(4) for _ in range(n)]
        y = [draw.randrange(4) for _ in range(n)]
        expected = reference.kendalltau(x, y).statistic
        found = kendall_tau_b(x, y)
        if len(set(x)) == 1 or len(set(y)) == 1:
            assert found is None
        else:
            assert found == pytest.approx(expected)
