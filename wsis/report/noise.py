"""The noise of a difference over few seeds, estimated from all differences of a paper in a metric.

Three seeds leave a t-interval two degrees of freedom, so its width is a matter of luck. Rows of a paper share
seeds, detector and data, so the variances of their differences are similar. This is Smyth's moderated t
(Linear models and empirical Bayes methods, Stat. Appl. Genet. Mol. Biol. 3, 2004; limma): a prior variance
s0^2 with d0 degrees of freedom, both estimated from all contrasts, is mixed with a contrast's variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import combinations

from wsis.report.model import CellResult, TableResult
from wsis.report.stats import Interval, mean, paired, sample_std, t_interval, t_quantile

LEAST = 8  # contrasts; the moments of fewer say too little about how alike they are


class Noise:
    """The noise of differences like `contrasts` (each: seed -> difference); without any, a plain t-interval.

    freedom   d0, the degrees of freedom that the contrasts lend to each of them; 0: they lend none
    variance  s0^2, the variance that they expect of each

    Contrasts without spread are left out: exact ties say nothing about noise. With fewer than LEAST
    contrasts, or where no three seeds are shared, d0 is 0.

    The error rate of 5 % is an average over an ensemble. Rows are few and differ (rows at the floor have
    hardly any noise), so three precautions keep the rate:
    - d0 is at most what the other contrasts hold, (m_eff - 1) d. Where the seeds move all rows together, m
      contrasts are worth one, hence m_eff = m / (1 + (m - 1) rho^2); rho^2 is their mean squared correlation
      over seeds beyond chance. It also corrects the spread of log s^2.
    - d0 below 1 counts as 0. Variances that unequal (standard deviations of 0.1 and of 3, say) say nothing
      of each other; even half a degree would find the noisy half different in 8 %.
    - The mixed variance is never below the contrast's: quiet rows add degrees of freedom only.
    In an ensemble whose noise varies twentyfold, one in ten of the noisiest contrasts is still wrongly called
    different; of the quietest, hardly any.
    """

    def __init__(self, contrasts: Iterable[Mapping[int, float]] = ()):
        known = [dict(c) for c in contrasts if len(c) > 1 and sample_std(c.values()) > 0]
        freedom, self.variance = _prior(known) if len(known) >= LEAST else (0.0, 0.0)
        self.freedom = freedom if freedom >= 1 else 0.0

    def interval(self, differences: Iterable[float], level: float = 0.95) -> Interval:
        """Confidence interval of the mean of two or more differences; a point when they are identical.

        Student's t with d0 + d degrees of freedom, d = n - 1.
        """
        differences = list(differences)
        error = self.error(differences)
        if not error or not self.freedom:
            return t_interval(differences, level)
        half = t_quantile((1 + level) / 2, self.freedom_of(len(differences))) * error
        return mean(differences) - half, mean(differences) + half

    def error(self, differences: Iterable[float]) -> float:
        """Standard error of the mean of two or more differences; 0 when they are identical.

        From s~^2 = max(s^2, (d0 s0^2 + d s^2) / (d0 + d)).
        """
        differences = list(differences)
        spread, d = sample_std(differences), len(differences) - 1
        if not spread:
            return 0.0
        moderated = (self.freedom * self.variance + d * spread**2) / (self.freedom + d)
        return math.sqrt(max(spread**2, moderated) / len(differences))

    def freedom_of(self, n: int) -> float:
        """Degrees of freedom behind the interval of n differences."""
        return self.freedom + n - 1


def _prior(contrasts: list[dict[int, float]]) -> tuple[float, float]:
    """d0 and s0^2 by the moments of log s^2 (Smyth, Sec. 6.2), d0 capped."""
    from scipy.special import digamma, polygamma  # imported late: scipy costs a second

    count, alike = len(contrasts), _alike(contrasts)
    freedoms = [len(contrast) - 1 for contrast in contrasts]
    variances = [sample_std(contrast.values()) ** 2 for contrast in contrasts]
    floor = 1e-5 * sorted(variances)[count // 2]  # limma's offset: one almost exact tie doesn't rule the log
    logs = [
        math.log(max(variance, floor)) - digamma(d / 2) + math.log(d / 2)
        for variance, d in zip(variances, freedoms, strict=True)
    ]
    centre = mean(logs)
    chance = (1 - alike) * mean(polygamma(1, d / 2) for d in freedoms)
    spread = math.fsum((value - centre) ** 2 for value in logs) / (count - 1) - chance
    effective = count / (1 + (count - 1) * alike)
    most = (effective - 1) * mean(freedoms)
    if spread <= 0:  # no more unequal than chance makes them: all pooled
        pooled = math.fsum(d * v for d, v in zip(freedoms, variances, strict=True)) / sum(freedoms)
        return most, pooled
    half = inverse_trigamma(spread)
    return min(2 * half, most), math.exp(centre + digamma(half) - math.log(half))


def _alike(contrasts: list[dict[int, float]]) -> float:
    """rho^2: mean squared correlation of two contrasts over their seeds beyond chance's 1 / (n - 1), 0 to 1.

    Two seeds correlate always, so it takes three; 1 where no two contrasts share as many.
    """
    squares = []
    for first, second in combinations(contrasts, 2):
        seeds = first.keys() & second.keys()
        if len(seeds) < 3:
            continue
        a, b = ([contrast[seed] for seed in seeds] for contrast in (first, second))
        a, b = ([value - mean(values) for value in values] for values in (a, b))
        norm = _dot(a, a) * _dot(b, b)
        if norm > 0:
            by_chance = 1 / (len(seeds) - 1)
            squares.append((_dot(a, b) ** 2 / norm - by_chance) / (1 - by_chance))
    return min(1.0, max(0.0, mean(squares))) if squares else 1.0


def _dot(a: list[float], b: list[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def inverse_trigamma(value: float) -> float:
    """x > 0 with trigamma(x) = value, by Newton's iteration on 1 / trigamma (Smyth, appendix)."""
    from scipy.special import polygamma

    if value > 1e7 or value < 1e-6:  # the ends, where trigamma(x) is 1 / x^2 and 1 / x
        return 1 / math.sqrt(value) if value > 1 else 1 / value
    x = 0.5 + 1 / value
    for _ in range(50):
        now = polygamma(1, x)
        step = now * (1 - now / value) / polygamma(2, x)
        x += step
        if -step / x < 1e-10:
            break
    return float(x)


def gather(results: Mapping[str, TableResult], images: Mapping[str, str]) -> dict[tuple[str, str], Noise]:
    """(paper, metric) -> the noise of its differences. `results`, `images`: as `wsis.report.claims.judge`.

    A contrast is a measured row against the next one of its table: nearly all claims compare such rows,
    neighbours of a sweep or variants of one method. The alternatives are worse. Differences to the mean of a
    seed have another size, all pairs of rows repeat each other, and with the pairs that claims name a verdict
    would depend on the other claims. Rows that share runs with another table repeat its numbers: a contrast
    of the same numbers counts once.
    """
    ensembles: dict[tuple[str, str], dict[tuple[float, ...], dict[int, float]]] = {}
    for result in results.values():
        for metric in result.table.metrics:
            ensemble = ensembles.setdefault((result.table.paper, metric), {})
            for contrast in _neighbours(result, metric, images):
                values = tuple(contrast.values())
                ensemble.setdefault(max(values, tuple(-value for value in values)), contrast)
    return {key: Noise(ensemble.values()) for key, ensemble in ensembles.items()}


def _neighbours(result: TableResult, metric: str, images: Mapping[str, str]) -> Iterable[dict[int, float]]:
    """Differences of each measured row to the one before it, where both are comparable."""
    before: tuple[str, CellResult] | None = None
    for row in result.table.rows:
        cell = result.cells[row.label, metric]
        if not cell.runs or not cell.values:
            continue
        protocol = row.protocol or result.table.protocol
        if before and before[0] == protocol and same_images(before[1], cell, images):
            differences = paired(cell.values, before[1].values)
            yield {seed: round(difference, 9) for seed, difference in differences.items()}
        before = protocol, cell


def same_images(one: CellResult, other: CellResult, images: Mapping[str, str]) -> bool:
    """Whether two cells were measured on the same images in each seed. images: run id -> which."""
    return all(
        images.get(one.runs[s]) == images.get(other.runs[s]) for s in one.runs.keys() & other.runs.keys()
    )
