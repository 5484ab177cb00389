"""Levels, published beside measured: sweeps as curves, other tables as dots; and figures redrawn.

Effects, which are what is compared below scale `paper`, are drawn by `wsis.report.effect_plots`. The
published and the measured panel share the x axis. They share the y axis only where their levels are close.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from wsis.declare.table import Curve, Sweep
from wsis.report.axes import WIDTH, mark_positions, metric_name, seeds_of
from wsis.report.drawn import Plot
from wsis.report.effect_plots import effect_plot
from wsis.report.model import CellResult, FigureResult, TableResult
from wsis.report.style import INK, MEASURED, MUTED, PUBLISHED, SERIES, Margins, drawing, to_png, to_svg


@dataclass
class _Point:
    position: float
    cell: CellResult
    label: str


def table_plot(result: TableResult, effects: bool = False) -> Plot | None:
    """The table's sweep, or a dot a trained row where it has none; None where nothing was measured.

    effects: differences to the reference row, published and measured on one axis, instead of levels.
    """
    if effects:
        return effect_plot(result)
    if result.table.sweep:
        return sweep_plot(result, result.table.sweep)
    return dot_plot(result)


def sweep_plot(result: TableResult, sweep: Sweep) -> Plot | None:
    """Published curve beside measured curve against the swept knob, a row of panels a metric."""
    curves = {
        metric: [
            _Point(position, result.cells.get((label, metric), CellResult()), label)
            for label, position in sorted(sweep.points.items(), key=lambda item: item[1])
        ]
        for metric in sweep.metrics
    }
    curves = {m: points for m, points in curves.items() if any(point.cell.n for point in points)}
    if not curves:
        return None
    name = f"{result.table.key.replace('/', '-table-')}-sweep"
    shared: list[bool] = []
    margins = Margins(left=0.65, right=0.08, bottom=0.58, top=0.27, beside=0.5, above=0.42)
    with drawing(WIDTH, 0.5 + 2.2 * len(curves), len(curves), 2, margins) as (canvas, axes):
        for row, (metric, points) in enumerate(curves.items()):
            left, right = axes[2 * row : 2 * row + 2]
            _curve(left, [(p.position, p.cell.published, p.label) for p in points], PUBLISHED, hollow=True)
            _curve(right, [(p.position, p.cell.mean, p.label) for p in points], MEASURED)
            _spread(right, points)
            shared.append(_pad(left, right))
            left.set_ylabel(metric_name(metric))
            for axis in (left, right):
                mark_positions(axis, sorted(sweep.points.values()), sweep.log)
                axis.yaxis.set_major_locator(MaxNLocator(5, min_n_ticks=3))
            if row == 0:
                left.set_title("published", color=PUBLISHED)
                right.set_title(f"measured ({seeds_of(point.cell for point in points)})", color=MEASURED)
        canvas.supxlabel(sweep.axis, fontsize=10, color=INK)
        metrics = ", ".join(metric_name(metric) for metric in curves)
        axes_note = (
            "Both panels share their vertical axis. "
            if all(shared)
            else "Panels differ in their vertical axes: compare shapes, not levels. "
        )
        caption = (
            f"{metrics} against {sweep.axis}. {axes_note}"
            "Bars: one sample standard deviation over seeds; faint dots: single seeds."
        )
        return Plot(to_svg(canvas, name, caption), caption, to_png(canvas))


def dot_plot(result: TableResult) -> Plot | None:
    """A dot a trained row, published on the left, measured on the right; None below two measured rows."""
    metric = result.trend.metric if result.trend else result.table.columns[0]
    rows = [
        (
            f"{row.label} (ours)" if row.ours else row.label,
            result.cells.get((row.label, metric), CellResult()),
        )
        for row in result.table.rows
        if row.kind == "train"
    ]
    rows = [(label, cell) for label, cell in rows if cell.n]
    if len(rows) < 2:
        return None
    name = f"{result.table.key.replace('/', '-table-')}-dots"
    heights = list(range(len(rows)))[::-1]
    with drawing(WIDTH, 0.9 + 0.42 * len(rows), 1, 2) as (canvas, (left, right)):
        for height, (_, cell) in zip(heights, rows, strict=True):
            if cell.published is not None:
                left.plot(cell.published, height, "o", mfc="white", mec=PUBLISHED, mew=1.8)
            right.errorbar(cell.mean, height, xerr=cell.std, fmt="o", color=MEASURED, capsize=3, lw=1.4)
            right.plot(
                list(cell.values.values()), [height - 0.22] * cell.n, ".", color=MEASURED, alpha=0.4, ms=5
            )
        left.set_yticks(heights, [textwrap.fill(label, 24) for label, _ in rows])
        right.set_yticks(heights, [""] * len(rows))
        left.set_title("published", color=PUBLISHED)
        right.set_title(f"measured ({seeds_of(cell for _, cell in rows)})", color=MEASURED)
        for axis in (left, right):
            axis.set_ylim(-0.6, len(rows) - 0.4)
            axis.margins(x=0.15)
            axis.xaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
            axis.tick_params(axis="y", length=0)
            axis.spines["left"].set_visible(False)
            axis.set_xlabel(metric_name(metric))
        caption = (
            f"{metric_name(metric)} of every trained row. Each panel has its own axis: compare order and "
            "spacing, not levels. Bars: one sample standard deviation over seeds; faint dots: single seeds."
        )
        return Plot(to_svg(canvas, name, caption), caption, to_png(canvas))


def figure_plot(result: FigureResult) -> Plot | None:
    """A redrawn figure: a panel a metric, measured curves, published points as diamonds."""
    curves = result.measured
    if not curves:
        return None
    figure = result.figure
    metrics = sorted({curve.metric for curve in curves} | {c.metric for c in figure.published}, key=_order)
    name = f"{figure.paper}-figure-{figure.figure}"
    with drawing(WIDTH, 3.2, 1, len(metrics)) as (canvas, axes):
        for axis, metric in zip(axes, metrics, strict=True):
            styles = zip(SERIES[0::2], "os^v", ("-", "--", "-.", ":"), strict=False)
            measured = [curve for curve in curves if curve.metric == metric]
            for (colour, marker, dash), curve in zip(styles, measured, strict=False):
                x, y = zip(*curve.points, strict=True)
                axis.plot(
                    x, y, dash, color=colour, marker=marker, ms=3.5, lw=1.6, label=_measured_label(curve)
                )
            for curve in figure.published:
                if curve.metric == metric:
                    x, y = zip(*curve.points, strict=True)
                    axis.plot(
                        x, y, "D", mfc="none", mec=PUBLISHED, mew=1.8, ms=7, label=f"published: {curve.label}"
                    )
            axis.set_title(metric_name(metric))
            axis.set_xlabel("colour similarity threshold τ")
            axis.xaxis.set_major_locator(MaxNLocator(5))
            axis.margins(y=0.12)
        labels = {
            label: handle
            for axis in axes
            for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
        }
        canvas.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=min(2, len(labels)))
        caption = f"{figure.title}: measured curves; diamonds are the points that the paper prints."
        return Plot(to_svg(canvas, name, caption), caption, to_png(canvas))


def _measured_label(curve: Curve) -> str:
    """The label without its metric, which the panel's title gives: one legend serves all panels."""
    return "measured: " + curve.label.removeprefix(f"{curve.metric}, ")


def _order(metric: str) -> int:
    return ("prop", "kept").index(metric)


def _curve(
    axis: Axes, points: Sequence[tuple[float, float | None, str]], colour: str, hollow: bool = False
) -> None:
    """Markers of the known points and a line. Points at one position are named; the line takes their mean."""
    known: dict[float, list[tuple[float, str]]] = {}
    for x, y, label in points:
        if y is not None:
            known.setdefault(x, []).append((y, label))
    if not known:
        axis.text(0.5, 0.5, "nothing printed", transform=axis.transAxes, ha="center", color=MUTED)
        return
    axis.plot(list(known), [sum(y for y, _ in here) / len(here) for here in known.values()], color=colour)
    for x, here in known.items():
        for rank, (y, label) in enumerate(sorted(here)):
            axis.plot(x, y, "o", mfc="white" if hollow else colour, mec=colour, mew=1.6)
            if len(here) > 1:
                side = "bottom" if rank else "top"
                shift = (0, 7 if rank else -7)
                axis.annotate(
                    label, (x, y), shift, textcoords="offset points", ha="center", va=side, fontsize=7.5
                )


def _spread(axis: Axes, points: Sequence[_Point]) -> None:
    """Bars of one standard deviation and the single seeds behind the mean."""
    for point in points:
        cell = point.cell
        if cell.std is not None:
            axis.errorbar(
                point.position, cell.mean, yerr=cell.std, color=MEASURED, capsize=4, lw=1.3, zorder=3
            )
            beside = offset_copy(axis.transData, axis.get_figure(root=True), x=5, units="points")
            seeds = list(cell.values.values())
            axis.plot(
                [point.position] * cell.n, seeds, ".", color=MEASURED, alpha=0.4, ms=6, transform=beside
            )


def _pad(left: Axes, right: Axes) -> bool:
    """Add head room, and share the y axis where the levels are close. Returns whether they share it."""
    left.margins(x=0.1, y=0.2)
    right.margins(x=0.1, y=0.2)
    (a, b), (c, d) = left.get_ylim(), right.get_ylim()
    close = max(b, d) - min(a, c) <= 1.5 * max(b - a, d - c)
    if close:
        for axis in (left, right):
            axis.set_ylim(min(a, c), max(b, d))
    return close
