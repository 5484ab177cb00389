"""Published against measured effect, a mark a row of every table: where a paper and its repetition agree.

An effect is a row's difference to the reference row of its table (`wsis.report.effects`), in the table's main
metric. A row on the line of equality is repeated in sign and size; in the quadrants beside it, in sign alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from wsis.report.drawn import Plot
from wsis.report.effects import Agreement
from wsis.report.style import INK, MUTED, SERIES, Margins, drawing, to_png, to_svg
from wsis.report.view import PAPER_TITLES

SIZE = 6.2, 5.0  # inches
TICKS = (1, 3, 10, 30, 100)
LINEAR = 1.0  # points around zero that are drawn to scale; beyond them the axes are logarithmic
MARKERS = "osD^vPX*"


def agreement_plot(rows: Sequence[Agreement], scale: str) -> Plot | None:
    """The scatter of these rows; None where there are none."""
    if not rows:
        return None
    margins = Margins(left=0.75, right=0.12, bottom=0.6, top=0.38, beside=0, above=0)
    with drawing(*SIZE, 1, 1, margins) as (canvas, (axis,)):
        draw_agreement(axis, rows)
        axis.set_ylabel(f"measured at scale {scale}")
        caption = words(rows)
        return Plot(to_svg(canvas, "agreement", caption), caption, to_png(canvas))


def words(rows: Sequence[Agreement]) -> str:
    """What the scatter shows, and how many rows agree in sign."""
    decided = [row for row in rows if row.decided and row.published]
    same = sum(row.measured * row.published > 0 for row in decided)
    text = (
        f"{len(rows)} rows of all tables: what each changes against the reference row of its table, in points"
        " of the table's main metric, published against measured, with 95 % intervals over seeds; dashed:"
        " equality. Pale rows change nothing outside the noise."
    )
    return f"{text} Of the others, {same} of {len(decided)} have the published sign." if decided else text


def draw_agreement(axis: Axes, rows: Sequence[Agreement]) -> None:
    """Draw the rows on square axes that are linear around zero and logarithmic beyond."""
    most = 1.35 * max(LINEAR, *(abs(value) for row in rows for value in (row.published, row.measured)))
    for set_scale in (axis.set_xscale, axis.set_yscale):
        set_scale("symlog", linthresh=LINEAR, linscale=0.6)
    ticks = [tick for tick in TICKS if tick < most]
    for side in (axis.xaxis, axis.yaxis):
        side.set_major_locator(FixedLocator([*(-tick for tick in reversed(ticks)), 0, *ticks]))
        side.set_minor_locator(NullLocator())
        side.set_major_formatter(
            lambda value, _: f"{value:+.0f}".replace("-", "\N{MINUS SIGN}") if value else "0"
        )
    axis.set(xlim=(-most, most), ylim=(-most, most), xlabel="published difference, points")
    axis.axhline(0, color=MUTED, lw=0.9)
    axis.axvline(0, color=MUTED, lw=0.9)
    axis.plot([-most, most], [-most, most], color=INK, lw=1, ls=(0, (4, 3)))
    looks = {
        paper: (SERIES[i % len(SERIES)], MARKERS[i % len(MARKERS)]) for i, paper in enumerate(_shown(rows))
    }
    for row in sorted(rows, key=lambda row: row.decided):
        colour, marker = looks[row.paper]
        bar, mark = (0.75, 1.0) if row.decided else (0.25, 0.4)
        if row.interval:
            axis.plot([row.published] * 2, row.interval, color=colour, lw=1.1, alpha=bar)
        axis.plot(row.published, row.measured, marker, color=colour, alpha=mark, ms=6, mec="white", mew=0.6)
    keys = [
        Line2D([], [], ls="", marker=marker, color=colour, label=PAPER_TITLES[paper])
        for paper, (colour, marker) in looks.items()
    ]
    axis.legend(
        handles=keys, loc="lower left", bbox_to_anchor=(-0.02, 1), ncols=len(keys), handletextpad=0,
        columnspacing=1, borderpad=0.3,
    )  # fmt: skip


def _shown(rows: Sequence[Agreement]) -> list[str]:
    """The papers that have rows, in their order."""
    return [paper for paper in PAPER_TITLES if any(row.paper == paper for row in rows)]
