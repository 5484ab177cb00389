"""Effects: what a row changes against its table's reference row, and which row leads a column.

At a small scale levels mean nothing, so these are what is compared with the published numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wsis.declare.table import Table
from wsis.measures.registry import is_exact, measure_of
from wsis.report.model import CellResult, Effect, Report, TableResult
from wsis.report.noise import Noise, same_images
from wsis.report.stats import Interval, paired

NEITHER_IS_BETTER = {"drop_rate"}  # metrics without a best value, beside the measures that say so
Ensembles = Mapping[tuple[str, str], Noise]


def fill_effects(
    result: TableResult, images: Mapping[str, str] | None = None, noise: Ensembles | None = None
) -> None:
    """Fill `effect` and `leads` of the table's cells. images, noise: as `wsis.report.claims.judge`."""
    for metric in result.table.metrics:
        ensemble = (noise or {}).get((result.table.paper, metric), Noise())
        cells = {
            row.label: result.cells.get((row.label, metric), CellResult())
            for row in result.table.rows
            if row.kind == "train"
        }
        for label, cell in cells.items():
            reference = result.table.reference_of(label)
            if reference != label and reference in cells:
                comparable = _protocol(result.table, label) == _protocol(result.table, reference)
                cell.effect = _effect(cell, cells[reference], images or {}, ensemble, comparable)
        _mark_leader(metric, list(cells.values()), images or {}, ensemble)


def _protocol(table: Table, label: str) -> str:
    return table.row(label).protocol or table.protocol


def _effect(
    cell: CellResult, reference: CellResult, images: Mapping[str, str], noise: Noise, comparable: bool
) -> Effect:
    effect = Effect()
    if cell.published is not None and reference.published is not None:
        effect.published = round(cell.published - reference.published, 9)
    if not comparable or not same_images(cell, reference, images):
        return effect
    differences = {seed: round(d, 9) for seed, d in paired(cell.values, reference.values).items()}
    effect.n = len(differences)
    if differences:
        effect.mean = sum(differences.values()) / effect.n
        effect.same = bool(cell.runs) and all(cell.runs.get(s) == reference.runs.get(s) for s in differences)
    if effect.n > 1:
        effect.interval = noise.interval(differences.values())
    return effect


def _mark_leader(metric: str, cells: list[CellResult], images: Mapping[str, str], noise: Noise) -> None:
    """The best cell leads where every difference to another is outside the noise; a tie has no leader."""
    measured, exact = [cell for cell in cells if cell.values], is_exact(metric)
    measure = measure_of(metric)
    better = measure.better if measure else None if metric in NEITHER_IS_BETTER else "higher"
    if better is None or len(measured) < 2:
        return
    sign = 1 if better == "higher" else -1
    best = max(measured, key=lambda cell: sign * cell.mean)
    for other in measured:
        if other is best:
            continue
        differences = [sign * d for d in paired(best.values, other.values).values()]
        if not differences or not same_images(best, other, images) or (len(differences) == 1 and not exact):
            return
        least = noise.interval(differences)[0] if len(differences) > 1 else differences[0]
        if round(least, 9) <= 0:
            return
    best.leads = True


class Agreement(NamedTuple):
    """A row's effect in print and here, in points of its table's main metric."""

    paper: str
    published: float
    measured: float
    interval: Interval | None  # of 95 %; None for one seed

    @property
    def decided(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def agreements(report: Report) -> list[Agreement]:
    """Of every trained row that has both effects; rows that share the reference's runs say nothing."""
    return [
        Agreement(result.table.paper, effect.published, effect.mean, effect.interval)
        for result in report.tables
        for label in result.table.labels
        if (cell := result.cells.get((label, _main(result)))) and (effect := cell.effect)
        if effect.published is not None and effect.mean is not None and not effect.same
    ]


def _main(result: TableResult) -> str:
    """The metric that the table's trend is told in."""
    return result.trend.metric if result.trend else result.table.columns[0]
