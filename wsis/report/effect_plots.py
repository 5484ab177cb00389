"""Effects on one axis: published differences to the reference row, open; measured ones with their interval.

Where both lie on the same side of zero they agree in sign; where the open mark lies inside the bar, in size.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator

from wsis.declare.table import Sweep
from wsis.report.axes import WIDTH, mark_positions, metric_name, seeds_of
from wsis.report.drawn import Plot
from wsis.report.model import CellResult, Effect, TableResult
from wsis.report.style import INK, MEASURED, MUTED, PUBLISHED, Margins, drawing, to_png, to_svg

CARD = 3.3  # of the plot on a paper's card
LABEL = 30  # letters of a row's label in a line


@dataclass
class _Point:
    label: str
    position: float
    cell: CellResult
    effect: Effect


def effect_plot(result: TableResult) -> Plot | None:
    """The table's sweep, or a line a row where it has none; None where no effect was measured."""
    sweep = result.table.sweep
    if sweep and any(_points(result, metric, sweep) for metric in sweep.metrics):
        return _sweep(result, sweep)
    return _rows(result)


def card_plot(result: TableResult) -> Plot | None:
    """One panel, small: the first swept metric that was measured, or the rows; None where nothing was."""
    sweep = result.table.sweep
    metric = next((m for m in sweep.metrics if _points(result, m, sweep)), None) if sweep else None
    if metric is None:
        return _rows(result)
    margins = Margins(left=0.5, right=0.08, bottom=0.52, top=0.34, beside=0, above=0)
    with drawing(CARD, 2.1, 1, 1, margins) as (canvas, (axis,)):
        _panel(axis, metric, _points(result, metric, sweep), sweep)
        axis.set_title("")
        _legend(canvas, axis, result)
        axis.set_xlabel(textwrap.shorten(sweep.axis, 44, placeholder=" …"), fontsize=9)
        caption = f"{metric_name(metric)}, difference to {_reference(result)}"
        svg = to_svg(
            canvas, f"{result.table.key.replace('/', '-table-')}-card", f"{caption}. {_read(result)}"
        )
        return Plot(svg, caption)


def _points(result: TableResult, metric: str, sweep: Sweep) -> list[_Point]:
    """The swept rows in order, the reference at zero; an empty list where none of them was measured."""
    points = []
    for label, position in sorted(sweep.points.items(), key=lambda item: item[1]):
        cell = result.cells.get((label, metric), CellResult())
        zero = Effect(0.0, None, cell.n, 0.0 if cell.published is not None else None)
        points.append(
            _Point(label, position, cell, cell.effect or (zero if _is_reference(result, label) else Effect()))
        )
    measured = [p for p in points if p.effect.mean is not None and not _is_reference(result, p.label)]
    return points if measured else []


def _is_reference(result: TableResult, label: str) -> bool:
    return result.table.reference_of(label) == label


def _sweep(result: TableResult, sweep: Sweep) -> Plot:
    """A panel a metric: effects against the swept knob."""
    curves = {metric: points for metric in sweep.metrics if (points := _points(result, metric, sweep))}
    margins = Margins(left=0.5, right=0.08, bottom=0.62, top=0.55, beside=0.5, above=0.5)
    columns = min(2, len(curves))
    rows = -(-len(curves) // columns)
    with drawing(WIDTH, 0.75 + 2.1 * rows, rows, columns, margins) as (canvas, axes):
        for axis, (metric, points) in zip(axes, curves.items(), strict=False):
            _panel(axis, metric, points, sweep)
        for axis in axes[len(curves) :]:
            axis.set_visible(False)
        _legend(canvas, axes[0], result)
        canvas.supxlabel(sweep.axis, fontsize=10, color=INK)
        names = ", ".join(metric_name(metric) for metric in curves)
        caption = f"{names} against {sweep.axis}, as differences to {_reference(result)}. {_read(result)}"
        name = f"{result.table.key.replace('/', '-table-')}-sweep"
        return Plot(to_svg(canvas, name, caption), caption, to_png(canvas))


def _panel(axis: Axes, metric: str, points: Sequence[_Point], sweep: Sweep) -> None:
    """Effects in one metric against the swept knob."""
    axis.axhline(0, color=MUTED, lw=0.9)
    printed = [(p.position, p.effect.published) for p in points if p.effect.published is not None]
    if printed:
        axis.plot(*zip(*printed, strict=True), "o--", color=PUBLISHED, mfc="white", mew=1.6, lw=1.2)
    _bars(axis, [p.position for p in points], [p.effect for p in points], upright=True)
    axis.set_title(f"{metric_name(metric)}, difference")
    axis.margins(x=0.1, y=0.12)
    mark_positions(axis, sorted(sweep.points.values()), sweep.log)
    axis.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))


def _rows(result: TableResult) -> Plot | None:
    """A line a trained row with an effect."""
    metric = result.trend.metric if result.trend else result.table.columns[0]
    points = [
        _Point(f"{row.label} (ours)" if row.ours else row.label, 0.0, cell, cell.effect)
        for row in result.table.rows
        if (cell := result.cells.get((row.label, metric))) and cell.effect and cell.effect.mean is not None
    ]
    if not points:
        return None
    heights = list(range(len(points)))[::-1]
    labels = [textwrap.fill(point.label, LABEL) for point in points]
    longest = max(len(line) for label in labels for line in label.split("\n"))
    lines = sum(0.3 + 0.14 * label.count("\n") for label in labels)
    margins = Margins(left=0.25 + 0.078 * longest, right=0.12, bottom=0.5, top=0.34, beside=0, above=0)
    with drawing(WIDTH, 0.95 + lines, 1, 1, margins) as (canvas, (axis,)):
        axis.axvline(0, color=MUTED, lw=0.9)
        for height, point in zip(heights, points, strict=True):
            if point.effect.published is not None:
                axis.plot(point.effect.published, height + 0.16, "o", mfc="white", mec=PUBLISHED, mew=1.8)
        _bars(axis, heights, [point.effect for point in points], upright=False)
        axis.set_yticks(heights, labels)
        axis.set_ylim(-0.6, len(points) - 0.4)
        axis.margins(x=0.08)
        axis.xaxis.set_major_locator(MaxNLocator(6, min_n_ticks=3))
        axis.tick_params(axis="y", length=0)
        axis.spines["left"].set_visible(False)
        axis.set_xlabel(f"{metric_name(metric)}, difference to the reference row")
        _legend(canvas, axis, result)
        caption = (
            f"{metric_name(metric)} of every trained row ({seeds_of(point.cell for point in points)}), as "
            f"differences to {_reference(result)}. {_read(result)}"
        )
        name = f"{result.table.key.replace('/', '-table-')}-effects"
        return Plot(to_svg(canvas, name, caption), caption, to_png(canvas))


def _read(result: TableResult) -> str:
    """How to read the marks."""
    if result.own_data:
        return "Measured, with its 95 % interval over seeds."
    return "Open: published; filled: measured, with its 95 % interval over seeds."


def _bars(axis: Axes, places: Sequence[float], effects: Sequence[Effect], upright: bool) -> None:
    """Filled marks with their intervals. places: on the other axis; upright: effects on the vertical one."""
    for place, effect in zip(places, effects, strict=True):
        if effect.mean is None:
            continue
        low, high = effect.interval or (effect.mean, effect.mean)
        around = [[effect.mean - low], [high - effect.mean]]
        here = (place, effect.mean) if upright else (effect.mean, place - 0.16)
        x, y = (None, around) if upright else (around, None)
        axis.errorbar(
            *here, xerr=x, yerr=y, fmt="o", color=MEASURED, capsize=3 if effect.interval else 0, lw=1.5
        )


def _legend(canvas: Canvas, axis: Axes, result: TableResult) -> None:
    """What the marks are, above the axes; nothing is published of the user's own data."""
    marks = {"measured, 95 % interval": axis.plot([], [], "o-", color=MEASURED)[0]}
    if not result.own_data:
        marks = {"published": axis.plot([], [], "o", mfc="white", mec=PUBLISHED, mew=1.8)[0]} | marks
    canvas.legend(
        marks.values(),
        marks.keys(),
        loc="upper right",
        ncols=2,
        borderpad=0.1,
    )


def _reference(result: TableResult) -> str:
    """The reference rows that other rows are compared with, in words."""
    names = [
        row.label for row in result.table.rows if row.kind == "train" and _is_reference(result, row.label)
    ]
    return " and ".join(f"'{name}'" for name in names)
