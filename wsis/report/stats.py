"""The statistics of a report: rounding intervals, spread over seeds, paired intervals, rank agreement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from statistics import fmean

Interval = tuple[float, float]


def decimals(values: Iterable[float | None]) -> int:
    """Decimals a table's column prints: the most that any of its numbers needs.

    One number alone does not tell, since YAML and JSON read 30.0 and 30 alike and drop trailing zeros.
    """
    return max((_decimals(value) for value in values if value is not None), default=0)


def _decimals(value: float) -> int:
    return max(0, -int(Decimal(repr(float(value))).normalize().as_tuple().exponent))


def published_interval(value: float, digits: int, truncated: bool = False) -> Interval:
    """[low, high) of the numbers that print as `value` with `digits` decimals: 30.7, 1 -> (30.65, 30.75).

    truncated: the paper cuts digits off (of numbers above 0): (30.7, 30.8).
    """
    printed, half = Decimal(repr(float(value))), Decimal(5).scaleb(-digits - 1)
    centre = printed + half if truncated else printed
    return float(centre - half), float(centre + half)


def mean(values: Iterable[float]) -> float | None:
    """Arithmetic mean; None of nothing."""
    values = list(values)
    return fmean(values) if values else None


def sample_std(values: Iterable[float]) -> float | None:
    """Sample standard deviation, with n - 1; None below two values. Exactly 0 for identical values."""
    values = list(values)
    if len(values) < 2:
        return None
    if len(set(values)) == 1:
        return 0.0
    centre = fmean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Seed -> a - b, over the seeds that both have, ascending."""
    return {seed: a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())}


def t_interval(values: Iterable[float], level: float = 0.95) -> Interval:
    """Student-t confidence interval of the mean of two or more values; a point when they are identical.

    Raises ValueError below two values: one number says nothing about its own noise.
    """
    values = list(values)
    spread = sample_std(values)
    if spread is None:
        raise ValueError(f"an interval needs two values or more, got {len(values)}")
    if spread == 0:
        return values[0], values[0]
    centre = fmean(values)
    half = t_quantile((1 + level) / 2, len(values) - 1) * spread / math.sqrt(len(values))
    return centre - half, centre + half


@cache
def t_quantile(probability: float, freedom: float) -> float:
    """Student's t at a cumulative probability."""
    from scipy.special import stdtrit  # imported late: scipy costs a second

    return float(stdtrit(freedom, probability))


def t_tail(value: float, freedom: float) -> float:
    """Probability that Student's t lies above `value`."""
    from scipy.special import stdtr

    return float(stdtr(freedom, -value))


def kendall_tau_b(x: Sequence[float], y: Sequence[float]) -> float | None:
    """Kendall's tau-b of two equally long sequences; None where either is constant or shorter than two.

    (C - D) / sqrt((n0 - ties in x) (n0 - ties in y)), n0 pairs, C concordant and D discordant ones.
    """
    pairs = [(i, j) for i in range(len(x)) for j in range(i)]
    signs = [(_sign(x[i] - x[j]), _sign(y[i] - y[j])) for i, j in pairs]
    untied_x, untied_y = sum(a != 0 for a, _ in signs), sum(b != 0 for _, b in signs)
    if not untied_x or not untied_y:
        return None
    return sum(a * b for a, b in signs) / math.sqrt(untied_x * untied_y)


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
