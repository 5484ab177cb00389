"""A table as text: which words stand in each cell, shared by every output format.

Markdown, LaTeX and HTML differ in markup only; what a cell says (mean, spread, number of seeds, published
number, difference, the reason why nothing was measured) is decided here once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wsis.declare.load import load_papers
from wsis.declare.table import Row, Table
from wsis.measures.registry import is_ours, measure_of, notes, readable
from wsis.report.model import CellResult, TableResult

PAPER_TITLES = {key: paper.name for key, paper in load_papers().items()}
NEITHER_IS_BETTER = {"drop_rate"}  # metrics without a best value, beside the measures that say so
SCALE_CAPTIONS = {
    "smoke": "measured at scale smoke: a few steps on a few images, the numbers mean nothing",
    "tiny": "measured at scale tiny (synthetic shapes, a small network from scratch): not comparable in "
    "absolute value with the published numbers, only in order and trend",
    "mini": "measured at scale mini (a small real data set, short training): not comparable in "
    "absolute value with the published numbers, only in order and trend",
    "paper": "measured at scale paper: the paper's data, network and schedule; deviations are listed below",
}
CellKind = Literal["measured", "missing", "quoted", "empty"]


@dataclass
class CellView:
    """What a cell shows.

    kind        measured; missing (trained row, no run yet); quoted (published only); empty (no number at all)
    mean, std   formatted with the paper's decimals; '' where undefined
    n           seeds measured
    published   formatted; '' where the paper prints none
    difference  measured minus published, signed; '' unless both exist
    best        the best measured value of its column
    ours        a measure of ours, not a column of the paper's
    note        footnote mark of a missing cell, else ''
    reason      why it was not measured, else ''
    measured_key, published_key   numbers to sort by, None where there is none
    """

    kind: CellKind
    mean: str = ""
    std: str = ""
    n: int = 0
    published: str = ""
    difference: str = ""
    best: bool = False
    ours: bool = False
    stale: bool = False
    source: str | None = None
    note: str = ""
    reason: str = ""
    measured_key: float | None = None
    published_key: float | None = None


@dataclass
class RowView:
    """A row: its label, how it is marked, its run ids (seeds ascending, each once) and its cells.

    kind: ours is a row that we train and the paper does not print.
    stale: a run behind it was trained by code that has changed since. A run fills the whole row.
    """

    label: str
    kind: Literal["train", "ours", "quote"]
    quote: str
    notes: list[str]
    runs: list[str]
    cells: list[CellView]

    @property
    def measured(self) -> bool:
        """True if it has a number in one of the paper's columns."""
        return any(cell.kind == "measured" and not cell.ours for cell in self.cells)

    @property
    def name(self) -> str:
        """Its label in drawings, which have no other mark."""
        return f"{self.label} (ours)" if self.kind == "ours" else self.label

    @property
    def marks(self) -> list[str]:
        """What a table's row says beside its label: ours, quoted, stale, official checkpoint."""
        kinds = {"ours": ["ours"], "quote": ["quoted"], "train": []}
        origins = dict.fromkeys(cell.source for cell in self.cells if cell.source)
        return kinds[self.kind] + (["stale"] if self.stale else []) + [*origins]

    @property
    def stale(self) -> bool:
        return any(cell.stale for cell in self.cells)


@dataclass
class TableView:
    """A table with the text of its cells; measures of ours stand right of the paper's columns.

    footnotes: mark -> reason, of the cells that were not run
    """

    table: Table
    scale_caption: str
    rows: list[RowView]
    footnotes: dict[str, str]

    @property
    def name(self) -> str:
        """'BoxInst, Table 1a'."""
        return f"{PAPER_TITLES[self.table.paper]}, Table {self.table.table}"

    @property
    def anchor(self) -> str:
        return self.table.key.replace("/", "-table-")

    @property
    def measured(self) -> bool:
        return any(cell.kind == "measured" for row in self.rows for cell in row.cells)

    @property
    def measure_header(self) -> list[str]:
        return [readable(measure) for measure in self.table.measures]

    @property
    def measure_note(self) -> str:
        """What the columns of ours are; '' where there are none."""
        return notes(self.table.measures)

    @property
    def row_notes(self) -> dict[str, list[str]]:
        """Note -> labels of the rows it is about."""
        notes: dict[str, list[str]] = {}
        for row in self.rows:
            for note in row.notes:
                notes.setdefault(note, []).append(row.label)
        return notes

    @property
    def trained(self) -> list[RowView]:
        return [row for row in self.rows if row.kind != "quote"]


def scale_caption(scale: str) -> str:
    """The sentence that says what numbers of this scale may be compared with."""
    return SCALE_CAPTIONS.get(scale, f"measured at scale {scale}")


def table_view(result: TableResult, scale: str) -> TableView:
    """Decide the text of every cell of `result`."""
    table = result.table
    best = {metric: _best(result, metric) for metric in table.metrics}
    marks: dict[str, str] = {}  # reason -> mark
    rows = []
    for row in table.rows:
        cells = {metric: result.cells.get((row.label, metric), CellResult()) for metric in table.metrics}
        views = [_cell(cell, row, metric, best[metric], marks) for metric, cell in cells.items()]
        runs = dict.fromkeys(run for cell in cells.values() for _, run in sorted(cell.runs.items()))
        notes = [
            row.split and f"evaluated on {row.split}",
            row.protocol and f"{row.protocol} protocol",
            row.note,
        ]
        kind = "ours" if row.ours else row.kind
        rows.append(
            RowView(row.label, kind, row.quote or "", [note for note in notes if note], list(runs), views)
        )
    return TableView(table, scale_caption(scale), rows, {mark: reason for reason, mark in marks.items()})


def _best(result: TableResult, metric: str) -> float | None:
    """The best measured mean of a column; None below two measured rows, or where none is better."""
    means = [
        cell.mean for (_, name), cell in result.cells.items() if name == metric and cell.mean is not None
    ]
    measure = measure_of(metric)
    better = measure.better if measure else None if metric in NEITHER_IS_BETTER else "higher"
    if better is None or len(means) < 2 or (is_ours(metric) and len(set(means)) == 1):
        return None
    return min(means) if better == "lower" else max(means)


def _cell(cell: CellResult, row: Row, metric: str, best: float | None, marks: dict[str, str]) -> CellView:
    """The text of a cell. best: the best mean of its column; marks: reason -> mark, added to where new."""
    digits = max(1, cell.decimals)
    published = "" if cell.published is None else f"{cell.published:.{cell.decimals}f}"
    ours = is_ours(metric)
    view = CellView("empty", published=published, ours=ours, published_key=cell.published)
    if cell.mean is not None:
        view.kind, view.n, view.best, view.stale = "measured", cell.n, cell.mean == best, cell.stale
        view.source = cell.source
        view.mean, view.measured_key = f"{cell.mean:.{digits}f}", cell.mean
        view.std = "" if cell.std is None else f"{cell.std:.{digits}f}"
        if cell.published is not None:
            view.difference = signed(cell.mean - cell.published, digits)
    elif row.kind == "quote":
        view.kind = "quoted" if published else "empty"
    elif published or ((row.ours or ours) and cell.meant):
        view.kind, view.reason = "missing", cell.reason or "not run"
        view.note = marks.setdefault(view.reason, _mark(len(marks)))
    else:
        view.reason = cell.reason or ""
    return view


def signed(value: float, digits: int) -> str:
    """'+9.3', '-0.4' or '0.0': a number that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def _mark(index: int) -> str:
    """a, b, ..., z, aa, ab, ..."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return letters
