"""Training curves of a table's rows: one small panel a loss, one line a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.ticker import MaxNLocator

from wsis.errors import WsisError
from wsis.report.drawn import Plot
from wsis.report.style import SERIES, Margins, drawing, to_svg

POINTS = 120  # a line; more are averaged in groups
DASHES = ("-", "--", ":")


@dataclass
class Log:
    """A run's log. iterations: (T,); losses: name -> (T,), 'total' first, NaN where a step lacks the loss."""

    iterations: np.ndarray
    losses: dict[str, np.ndarray]


def read_log(path: Path) -> Log | None:
    """The log of a run; None where there is none or it is empty.

    A step logged twice (a resumed training) keeps its last line. A last line cut short by a kill is
    skipped; any other broken line raises WsisError naming the line.
    """
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").splitlines()
    steps = {}
    for number, line in enumerate(lines, start=1):
        try:
            step = json.loads(line)
            if "validation" in step:
                continue
            steps[int(step["iteration"])] = {"total": float(step["total"]), **step["losses"]}
        except (ValueError, KeyError, TypeError) as error:
            if number < len(lines):
                raise WsisError(f"{path}, line {number}: not a log line: {error!r}") from None
    if not steps:
        return None
    iterations = sorted(steps)
    names = dict.fromkeys(name for t in iterations for name in steps[t])
    losses = {n: np.array([steps[t].get(n, np.nan) for t in iterations], dtype=float) for n in names}
    return Log(np.array(iterations), losses)


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

    `name` is unique on the page. A line is the mean over seeds of the running means. None where no run
    has a log.
    """
    logs = [(label, [log for run in runs if (log := read_log(run / "log.jsonl"))]) for label, runs in rows]
    logs = [(label, of_seeds) for label, of_seeds in logs if of_seeds]
    if not logs:
        return None
    names = list(dict.fromkeys(loss for _, of_seeds in logs for log in of_seeds for loss in log.losses))
    longest = max(len(log.iterations) for _, of_seeds in logs for log in of_seeds)
    window = max(1, longest // 40)
    columns = 2
    legend = 0.2 * -(-len(logs) // 2) + 0.1
    height = 2.0 * -(-len(names) // columns) + 0.2 + legend
    margins = Margins(left=0.5, right=0.1, bottom=legend + 0.5, top=0.27, beside=0.5, above=0.55)
    with drawing(5.6, height, -(-len(names) // columns), columns, margins) as (canvas, axes):
        handles = {}
        for index, (label, of_seeds) in enumerate(logs):
            for axis, loss in zip(axes, names, strict=False):
                line = _mean_line([log for log in of_seeds if loss in log.losses], loss, window)
                if line is not None:
                    dash = DASHES[index // len(SERIES) % len(DASHES)]
                    (handles[label],) = axis.plot(*line, dash, color=SERIES[index % len(SERIES)], lw=1.4)
        for axis, loss in zip(axes, names, strict=False):
            axis.set_title(loss)
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axis.yaxis.set_major_locator(MaxNLocator(4))
            axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        for axis in axes[len(names) :]:
            axis.set_visible(False)
        labels = [label if len(label) <= 34 else label[:33] + "…" for label in handles]
        canvas.legend(handles.values(), labels, loc="lower center", ncols=2)
        canvas.supxlabel("iteration", fontsize=9, y=legend / height)
        seeds = max(len(of_seeds) for _, of_seeds in logs)
        caption = f"Losses against iteration, running mean over {window} steps" + (
            f", mean of up to {seeds} seeds." if seeds > 1 else ", one seed."
        )
        return Plot(to_svg(canvas, name, caption), caption)


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
