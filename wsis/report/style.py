"""The style of every plot, and its two formats: a PNG file, and inline SVG that follows the page's colours.

Colours are Okabe and Ito's colour-blind safe set, darkened where needed for contrast on white. In the inline
SVG each of them becomes a CSS variable, so that the same drawing is legible on a light and on a dark page.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

INK, MUTED, GRID = "#1c2530", "#5b6775", "#d7dde4"
PUBLISHED, MEASURED = "#b3560b", "#1660b8"
SERIES = ("#1461b9", "#c4520a", "#0a8262", "#a83f82", "#8a6d00", "#2c8fbf", "#6b4fbb", "#64707d")
_VARIABLES = {
    INK: "--ink", MUTED: "--muted", GRID: "--grid", "#ffffff": "--page",
    PUBLISHED: "--published", MEASURED: "--measured",
    **{colour: f"--series-{index}" for index, colour in enumerate(SERIES)},
}  # fmt: skip
_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.titley": 1.0,  # no ticks above: a title need not look for its place
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "wsis",
}


@dataclass(frozen=True)
class Margins:
    """Free space in inches: at the figure's sides, and between axes side by side and one above the other."""

    left: float
    right: float
    bottom: float
    top: float
    beside: float
    above: float

    def of(self, width: float, height: float, rows: int, columns: int) -> dict[str, float]:
        """As shares of a figure of this size, and of the axes that remain."""
        wide = (width - self.left - self.right - self.beside * (columns - 1)) / columns
        high = (height - self.bottom - self.top - self.above * (rows - 1)) / rows
        return {
            "left": self.left / width,
            "right": 1 - self.right / width,
            "bottom": self.bottom / height,
            "top": 1 - self.top / height,
            "wspace": self.beside / wide,
            "hspace": self.above / high,
        }


@contextmanager
def drawing(
    width: float, height: float, rows: int = 1, columns: int = 1, margins: Margins | None = None
) -> Iterator[tuple[Canvas, list[Axes]]]:
    """A figure of `width` x `height` inches and its axes in reading order, in the common style.

    margins: the free space around and between the axes. With None all texts are measured to find it, which
    takes twice as long as the drawing.
    """
    with plt.rc_context(_SETTINGS):
        canvas, grid = plt.subplots(
            rows,
            columns,
            figsize=(width, height),
            squeeze=False,
            layout=None if margins else "constrained",
            gridspec_kw=margins.of(width, height, rows, columns) if margins else None,
        )
        try:
            yield canvas, list(grid.flat)
        finally:
            plt.close(canvas)


def to_png(canvas: Canvas) -> bytes:
    """The drawing as PNG on white, 120 dots an inch."""
    out = io.BytesIO()
    canvas.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()


def to_svg(canvas: Canvas, name: str, label: str) -> str:
    """The drawing as an `<svg>` element: CSS variables for colours, the page's font, no background.

    `name` makes its ids unique within the page; `label` is what a screen reader says.
    """
    out = io.BytesIO()
    canvas.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    canvas.set_layout_engine("none")  # the layout is done: a PNG of the same drawing need not repeat it
    text = out.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = _compact(text)
    text = re.sub(r"'DejaVu Sans'", "var(--font)", text)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    opening = f'<svg class="plot" role="img" aria-label="{escape(label)}" viewBox="{size[0][9:-1]}"'
    opening += f' style="max-width:{float(size[1]) * 1.35:.0f}px" xmlns="http://www.w3.org/2000/svg"'
    opening += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    return re.sub(r"^<svg[^>]*>", lambda _: opening, text)


def _compact(svg: str) -> str:
    """The drawing without indentation, ids that nothing refers to, and digits below 0.01 points."""
    used = {*re.findall(r"#([\w.-]+)", svg)}
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    return re.sub(
        r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"\d+\.\d{3,}", _short, found[0]), svg
    )


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
