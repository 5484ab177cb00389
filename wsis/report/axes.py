"""What plots of levels and of effects have in common: their width, names of metrics and seeds, and ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

from wsis.report.model import CellResult

METRIC_NAMES = {
    "AP25": "AP 25", "AP50": "AP 50", "AP70": "AP 70", "AP75": "AP 75", "APS": "AP S", "APM": "AP M",
    "APL": "AP L", "AP_unseen": "AP unseen", "AP50_unseen": "AP 50 unseen", "AP75_unseen": "AP 75 unseen",
    "prop": "positive edges, %", "kept": "positive edges kept, %", "drop_rate": "dropped share",
    "GFLOPs": "GFLOPs", "params": "parameters, M",
}  # fmt: skip
LETTER = 0.085  # inches, of a digit at a tick
WIDTH = 5.6  # inches; drawn at 1 to 1.35 px a point, legible from 400 px on


def metric_name(metric: str) -> str:
    """The metric as an axis label."""
    return METRIC_NAMES.get(metric, metric)


def seeds_of(cells: Iterable[CellResult]) -> str:
    numbers = sorted({cell.n for cell in cells if cell.n})
    if len(numbers) == 1:
        return "1 seed" if numbers == [1] else f"{numbers[0]} seeds"
    return f"{numbers[0]} to {numbers[-1]} seeds"


def mark_positions(axis: Axes, values: Sequence[float], log: bool) -> None:
    """Ticks at the swept values, thinned where their labels would touch."""
    if log and min(values) > 0:
        axis.set_xscale("log")
    scale = math.log if log and min(values) > 0 else float
    width = scale(values[-1]) - scale(values[0])
    letter = LETTER * axis.figure.dpi / axis.bbox.width  # as a share of the axis
    shown: list[float] = []
    for value in values:
        wanted = max(0.09, letter * (1 + len(f"{value:g}{shown[-1]:g}") / 2)) * width if shown else 0
        if not shown or scale(value) - scale(shown[-1]) >= wanted:
            shown.append(value)
    axis.xaxis.set_major_locator(FixedLocator(shown))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axis.set_xticks(shown, [f"{value:g}" for value in shown])
