"""Training curves of a table's rows: one small panel a loss, one line a row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsis.checksums import verify
from wsis.errors import WsisError
from wsis.files import read_lines
from wsis.report.drawn import Plot
from wsis.report.markup import templates
from wsis.report.style import SERIES

POINTS = 40  # of a line, as many as there are windows of its running mean
DASHES = ("", "6 3", "2 2")
WIDTH, HIGH, LEFT, COLUMNS = 640, 130, 44, 2  # pixels of the sheet, of a panel, beside it; panels in a row


@dataclass
class Log:
    """A run's log. iterations: (T,); losses: name -> (T,), 'total' first, NaN where a step lacks the loss."""

    iterations: np.ndarray
    losses: dict[str, np.ndarray]


def read_log(path: Path) -> Log | None:
    """The log of a run; None where there is none or it is empty.

    A step logged twice (a resumed training) keeps its last line. A last line cut short by a kill is
    skipped; any other broken line raises WsisError naming the line, and a damaged file DamagedFile.
    """
    if not path.is_file():
        return None
    verify(path)
    steps: dict[int, dict[str, float]] = {}
    for number, step in enumerate(read_lines(path), start=1):
        try:
            if "validation" in step:
                continue
            losses = {name: float(value) for name, value in step["losses"].items()}
            steps[int(step["iteration"])] = {"total": float(step["total"]), **losses}
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise WsisError(f"{path}, line {number}: not a log line: {error!r}") from None
    if not steps:
        return None
    iterations = sorted(steps)
    names = dict.fromkeys(name for t in iterations for name in steps[t])
    columns = {n: np.array([steps[t].get(n, np.nan) for t in iterations], dtype=float) for n in names}
    return Log(np.array(iterations), columns)


def _logs(runs: Sequence[Path]) -> list[Log]:
    """The logs that there are of these runs. A damaged one is left out, and stderr told."""
    logs = []
    for run in runs:
        try:
            logs.append(read_log(run / "log.jsonl"))
        except WsisError as error:
            print(f"{error}: left out", file=sys.stderr, flush=True)
    return [log for log in logs if log]


def smooth(values: np.ndarray, window: int) -> np.ndarray:
    """Centred running mean over `window` steps (shrinking at both ends); NaN steps do not count."""
    known = np.isfinite(values)
    kernel = np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), kernel, mode="full")
    count = np.convolve(known.astype(float), kernel, mode="full")
    start = (window - 1) // 2
    total, count = total[start : start + len(values)], count[start : start + len(values)]
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def curves_plot(name: str, rows: Sequence[tuple[str, Sequence[Path]]]) -> Plot | None:
    """Loss against iteration; `rows` are (row label, run folders of all its seeds).

    A line is the mean over seeds of the running means. None where no run has a log. The SVG is written by a
    template: a hundred small panels would take matplotlib half of a report's time.
    """
    logs = [(label, _logs(runs)) for label, runs in rows]
    logs = [(label, of_seeds) for label, of_seeds in logs if of_seeds]
    if not logs:
        return None
    names = list(dict.fromkeys(loss for _, of_seeds in logs for log in of_seeds for loss in log.losses))
    longest = max(len(log.iterations) for _, of_seeds in logs for log in of_seeds)
    window = max(1, longest // POINTS)
    panels = []
    for place, loss in enumerate(names):
        lines = {
            index: line
            for index, (_, of_seeds) in enumerate(logs)
            if (line := _mean_line([log for log in of_seeds if loss in log.losses], loss, window)) is not None
        }
        panels.append(_panel(loss, place, lines))
    high = -(-len(names) // COLUMNS) * (HIGH + 50)
    seeds = max(len(of_seeds) for _, of_seeds in logs)
    caption = f"Losses against iteration, running mean over {window} steps, " + (
        f"mean of up to {seeds} seeds." if seeds > 1 else "one seed."
    )
    shown = [
        {"x": LEFT + index % 2 * WIDTH / 2, "y": high + 16 + index // 2 * 17} | _style(index, label)
        for index, (label, _) in enumerate(logs)
    ]
    svg = (
        templates()
        .get_template("curves.svg")
        .render(
            label=f"{name}: {caption}",
            width=WIDTH,
            height=high + 24 + -(-len(logs) // 2) * 17,
            panels=panels,
            legend=shown,
        )
    )
    return Plot(svg, caption)


def _style(index: int, label: str = "") -> dict[str, Any]:
    """Colour and dash of a row, and its label, cut short."""
    dash = DASHES[index // len(SERIES) % len(DASHES)]
    label = label if len(label) <= 40 else label[:39] + "…"
    return {"colour": index % len(SERIES), "dash": dash, "label": label}


def _panel(loss: str, place: int, lines: dict[int, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """A loss: its place on the sheet, its axes' ends, and a path a row. lines: row's index -> x and y."""
    wide = WIDTH / COLUMNS - LEFT - 12
    known = [y[np.isfinite(y)] for _, y in lines.values()]
    known = [y for y in known if len(y)]
    top = max((float(y.max()) for y in known), default=1.0) or 1.0
    bottom = min(0.0, min((float(y.min()) for y in known), default=0.0))
    first = min((int(x[0]) for x, _ in lines.values()), default=0)
    last = max((int(x[-1]) for x, _ in lines.values()), default=1)
    paths = []
    for index, (x, y) in lines.items():
        across = (x - first) / max(1, last - first) * wide
        up = HIGH - (y - bottom) / (top - bottom) * HIGH
        points = " ".join(f"{a:.0f} {b:.1f}" for a, b in zip(across, up, strict=True) if np.isfinite(b))
        paths.append({"path": f"M{points}"} | _style(index))
    return {
        "name": loss, "x": LEFT + place % COLUMNS * WIDTH / COLUMNS, "y": 24 + place // COLUMNS * (HIGH + 50),
        "wide": wide, "high": HIGH, "top": f"{top:.3g}", "bottom": f"{bottom:.3g}", "first": first,
        "last": last, "lines": paths,
    }  # fmt: skip


def _mean_line(logs: Sequence[Log], loss: str, window: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Mean over runs on the iterations that all share, thinned to at most POINTS points."""
    if not logs:
        return None
    shared = logs[0].iterations
    for log in logs[1:]:
        shared = np.intersect1d(shared, log.iterations)
    if not len(shared):
        return None
    values = [smooth(log.losses[loss], window)[np.isin(log.iterations, shared)] for log in logs]
    keep = np.unique(np.linspace(0, len(shared) - 1, min(POINTS, len(shared))).round().astype(int))
    return shared[keep], np.mean(values, axis=0)[keep]
