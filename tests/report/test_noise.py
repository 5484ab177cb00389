"""The moderated interval: against formulas written another way, in its limits, and calibrated by drawing."""

from __future__ import annotations

import math

import numpy
import pytest
from scipy import optimize, special, stats

from wsis.declare.table import Table
from wsis.report.model import CellResult, TableResult
from wsis.report.noise import LEAST, Noise, gather, inverse_trigamma
from wsis.report.stats import t_interval


def contrasts(values: numpy.ndarray) -> list[dict[int, float]]:
    return [dict(enumerate(row)) for row in values.tolist()]


def directions(spreads: list[float]) -> numpy.ndarray:
    """Contrasts over three seeds with these standard deviations, as unlike as two degrees allow."""
    plane = numpy.array([[1, -1, 0], [1, 1, -2]]) / numpy.sqrt([[2], [6]])
    angles = numpy.arange(len(spreads)) * math.pi / len(spreads)
    units = numpy.stack([numpy.cos(angles), numpy.sin(angles)], axis=1) @ plane
    return units * math.sqrt(2) * numpy.array(spreads)[:, None] + 1.0


@pytest.mark.parametrize("x", [1e-9, 1e-3, 0.2, 1.0, 7.5, 300.0, 1e8])
def test_trigamma_is_inverted(x: float) -> None:
    assert inverse_trigamma(float(special.polygamma(1, x))) == pytest.approx(x, rel=1e-6)


@pytest.mark.parametrize("seeds", [3, 5])
def test_moments_are_those_of_the_formulas_in_numpy(seeds: int) -> None:
    draw = numpy.random.default_rng(5)
    values = draw.normal(size=(20, seeds)) * numpy.exp(draw.normal(size=(20, 1)))
    d = seeds - 1
    squared = numpy.corrcoef(values)[numpy.triu_indices(20, 1)] ** 2
    alike = max(0.0, ((squared - 1 / d) / (1 - 1 / d)).mean())
    logs = numpy.log(values.var(axis=1, ddof=1))
    excess = logs.var(ddof=1) - (1 - alike) * special.polygamma(1, d / 2)
    d0 = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e3)
    # log of an F(d, d0) variable times s0^2: its mean is that of the logs
    mean_log_f = special.digamma(d / 2) - math.log(d / 2) - special.digamma(d0 / 2) + math.log(d0 / 2)
    assert 1 < d0 < d * (20 / (1 + 19 * alike) - 1)
    noise = Noise(contrasts(values))
    assert noise.freedom == pytest.approx(d0)
    assert noise.variance == pytest.approx(math.exp(logs.mean() - mean_log_f))

    own = values[0].var(ddof=1)
    scale = math.sqrt(max(own, (d0 * noise.variance + d * own) / (d0 + d)) / seeds)
    expected = stats.t.interval(0.95, d0 + d, loc=values[0].mean(), scale=scale)
    assert noise.interval(values[0].tolist()) == pytest.approx(expected)


def test_equal_variances_are_pooled() -> None:
    """d0 would be infinite: it is capped at what the other contrasts hold."""
    noise = Noise(contrasts(directions([2.0] * 10)))
    assert (noise.freedom, noise.variance) == (pytest.approx(18), pytest.approx(4.0))
    expected = stats.t.interval(0.95, 20, loc=2.0, scale=math.sqrt((18 * 4 + 2 * 1) / 20 / 3))
    assert noise.interval([1.0, 2.0, 3.0]) == pytest.approx(expected)


def test_a_noisy_contrast_keeps_its_own_variance() -> None:
    noise = Noise(contrasts(directions([2.0] * 10)))
    expected = stats.t.interval(0.95, 20, loc=0.0, scale=10 / math.sqrt(3))
    assert noise.interval([-10.0, 0.0, 10.0]) == pytest.approx(expected)


@pytest.mark.parametrize(
    "ensemble",
    [
        contrasts(directions([2.0] * (LEAST - 1))),  # too few
        contrasts(directions([2.0] * 10)[:, :2]),  # two seeds don't tell whether contrasts are alike
        contrasts(numpy.outer(numpy.linspace(1, 2, 20), [1.0, 2.0, 4.0])),  # one seed effect in all rows
        contrasts(directions([0.1] * 10 + [3.0] * 10)),  # nothing to expect of the next
        contrasts(numpy.ones((20, 3))),  # exact ties
        [{0: 1.0}] * 20,
        [],
    ],
)
def test_plain_interval_where_the_others_say_nothing(ensemble: list) -> None:
    noise = Noise(ensemble)
    assert noise.freedom == 0 and noise.freedom_of(3) == 2
    assert noise.interval([1.0, 2.0, 4.0]) == t_interval([1.0, 2.0, 4.0])


def test_exact_ties_are_points_and_no_part_of_the_ensemble() -> None:
    values = directions([1.0, 2.0] * 6)
    noise, more = Noise(contrasts(values)), Noise(contrasts(numpy.vstack([values, numpy.full((9, 3), 0.5)])))
    assert (more.freedom, more.variance) == (noise.freedom, noise.variance)
    assert noise.interval([0.3, 0.3, 0.3]) == (0.3, 0.3) and noise.error([0.3, 0.3, 0.3]) == 0
    with pytest.raises(ValueError):
        noise.interval([1.0])


def test_an_almost_exact_tie_does_not_rule() -> None:
    """Of a spread of 1e-8 the logarithm is far off; it counts as an offset from the median."""
    spreads = [1.0, 1.5, 2.0] * 7
    tie = Noise(contrasts(directions([*spreads, 1e-8])))
    assert tie.freedom == pytest.approx(Noise(contrasts(directions([*spreads, 1e-6]))).freedom, rel=0.01)


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("spread", [0.0, 0.5, 1.0], ids=["equal", "unequal", "very unequal"])
def test_coverage_is_nominal(seeds: int, spread: float) -> None:
    """Standard deviations within an ensemble differ by up to e^(4 spread); the true difference is 0."""
    draw = numpy.random.default_rng(11)
    sigma = numpy.exp(spread * draw.normal(size=(20, 1)))
    covered, width, plain = [], [], []
    for _ in range(200):
        values = draw.normal(size=(20, seeds)) * sigma
        noise = Noise(contrasts(values))
        for row in values.tolist():
            low, high = noise.interval(row)
            covered.append(low <= 0 <= high)
            width.append(high - low)
            low, high = t_interval(row)
            plain.append(high - low)
    assert 0.93 < numpy.mean(covered) < 0.97
    assert numpy.mean(numpy.divide(width, plain) < 1) > 0.5
    ratio = numpy.std(numpy.log(width)) / numpy.std(numpy.log(plain))
    assert ratio < 1  # luck decides less about the width


def test_coverage_is_nominal_for_the_noisy_rows_among_quiet_ones() -> None:
    draw = numpy.random.default_rng(3)
    sigma = numpy.array([0.1] * 10 + [3.0] * 10)[:, None]
    covered = []
    for _ in range(300):
        values = draw.normal(size=(20, 3)) * sigma
        noise = Noise(contrasts(values))
        covered.append([low <= 0 <= high for low, high in map(noise.interval, values.tolist())])
    halves = numpy.mean(covered, axis=0).reshape(2, 10).mean(axis=1)
    assert (halves > 0.93).all() and (halves < 0.97).all()


def table(name: str, values: dict[str, list[float]], runs: dict[str, str]) -> TableResult:
    declared = Table.model_validate(
        {
            "paper": "boxinst", "table": name, "title": "t", "caption": "c", "section": "3",
            "dataset": "coco", "split": "val2017", "protocol": "coco", "base": "r50",
            "columns": ("AP",), "header": ("AP",),
            "rows": tuple({"label": label, "values": [1.0], "train": {}} for label in values),
        },
        strict=False,
    )  # fmt: skip
    cells = {
        (label, "AP"): CellResult(
            values=dict(enumerate(own)), runs={s: f"{runs.get(label, label)}-{s}" for s in range(len(own))}
        )
        for label, own in values.items()
    }
    return TableResult(declared, cells)


def test_gathered_are_neighbours_once_each() -> None:
    draw = numpy.random.default_rng(0)
    values = {f"r{i}": draw.normal(size=3).tolist() for i in range(12)}
    first = table("1a", values, {})
    alone = gather({"boxinst/1a": first}, {})["boxinst", "AP"]
    rows = numpy.array(list(values.values()))
    expected = Noise(contrasts(rows[1:] - rows[:-1]))
    assert alone.freedom == pytest.approx(expected.freedom) and alone.freedom > 0
    assert alone.variance == pytest.approx(expected.variance)
    # the same rows again, in the other order and read from other runs
    again = table("2", dict(reversed(values.items())), {label: f"other {label}" for label in values})
    both = gather({"boxinst/1a": first, "boxinst/2": again}, {})["boxinst", "AP"]
    assert (both.freedom, both.variance) == (alone.freedom, alone.variance)
    # rows on other images are no neighbours: the contrast of r5 and r6 falls away
    images = {f"r{i}-{seed}": "far" for i in range(6) for seed in range(3)}
    parted = gather({"boxinst/1a": first}, images)["boxinst", "AP"]
    kept = numpy.delete(rows[1:] - rows[:-1], 5, axis=0)
    assert parted.freedom == pytest.approx(Noise(contrasts(kept)).freedom)
