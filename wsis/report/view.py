"""A table as text: which words stand in each cell, shared by every output format.

Markdown, LaTeX and HTML differ in markup only; what a cell says (mean, spread, number of seeds, published
number, difference, the reason why nothing was measured) is decided here once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wsis.declare.load import load_papers
from wsis.declare.resolve import GENERATED
from wsis.declare.table import Row, Table
from wsis.measures.registry import is_ours, notes, readable
from wsis.report.model import CellResult, Effect, Ran, TableResult

PAPER_TITLES = {key: paper.name for key, paper in load_papers().items()}
SCALE_CAPTIONS = {
    "smoke": "measured at scale smoke: a few steps on a few images, the numbers mean nothing",
    "tiny": "measured at scale tiny (synthetic shapes, a small network from scratch): not comparable in "
    "absolute value with the published numbers, only in order and trend",
    "mini": "measured at scale mini (a small real data set, short training): not comparable in "
    "absolute value with the published numbers, only in order and trend",
    "paper": "measured at scale paper: the paper's data, network and schedule; deviations are listed below",
}
LEVELS = "paper"  # the scale whose levels are comparable with the published ones
CellKind = Literal["measured", "missing", "undefined", "quoted", "empty"]


@dataclass
class CellView:
    """What a cell shows.

    kind        measured; missing (trained row, no run yet); undefined (measured, and without a value); quoted
                (published only); empty (no number at all)
    mean, std   formatted with the paper's decimals; '' where undefined
    n           seeds measured
    published   formatted; '' where the paper prints none
    difference  measured minus published, signed; '' unless both exist
    effect      difference to the reference row, signed; '' where there is none or levels are compared
    bounds      its 95 % interval, '[+1.2, +3.4]'; '' with one seed
    half        half of that interval; published_effect: the printed difference to the reference row
    best        the best of its column, its lead outside the noise
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
    effect: str = ""
    bounds: str = ""
    half: str = ""
    published_effect: str = ""
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

    reference: other rows' effects are differences to it. against: the reference of this row, where its table
    has several. nets: the stand-in for the paper's backbone, where not all rows have the same.

    kind: ours is a row that we train and the paper does not print.
    stale: a run behind it was trained by code that has changed since. A run fills the whole row.
    """

    label: str
    kind: Literal["train", "ours", "quote"]
    quote: str
    notes: list[str]
    runs: list[str]
    cells: list[CellView]
    reference: bool = False
    against: str = ""
    nets: str = ""

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
        return kinds[self.kind] + ["reference"] * self.reference + ["stale"] * self.stale + [*origins]

    @property
    def stale(self) -> bool:
        return any(cell.stale for cell in self.cells)


@dataclass
class TableView:
    """A table with the text of its cells; measures of ours stand right of the paper's columns.

    footnotes: mark -> reason, of the cells that were not run. effects: effects are compared, not levels.
    """

    table: Table
    scale: str
    scale_caption: str
    rows: list[RowView]
    footnotes: dict[str, str]
    effects: bool = False
    ran: Ran | None = None

    @property
    def own(self) -> bool:
        """Whether the data are the user's own, of which no printed number tells anything."""
        return self.ran is not None and self.ran.own

    @property
    def caption(self) -> str:
        """The paper's, or what was run where the data are the user's own."""
        return f"Measured on {self.ran.data}." if self.ran and self.own else self.table.caption

    @property
    def header_notes(self) -> list[str]:
        """What a reader must know before the first cell: the data, and the network that stood in."""
        lines = [f"data: {self.ran.data}"] if self.ran and self.ran.data and not self.own else []
        return lines + [f"network: {text}" for text in _of_all(self.ran)]

    @property
    def seeds(self) -> str:
        """'n = 3', or 'n = 1 to 3'; '' where nothing was measured."""
        counts = sorted({c.n for row in self.rows for c in row.cells if c.kind == "measured"})
        if not counts:
            return ""
        return f"n = {counts[0]}" if len(counts) == 1 else f"n = {counts[0]} to {counts[-1]}"

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
    """Decide the text of every cell of `result`. No quoted rows where the data are the user's own."""
    table, own = result.table, result.own_data
    effects = scale != LEVELS
    marks: dict[str, str] = {}  # reason -> mark
    rows = []
    for row in table.rows:
        if own and row.kind == "quote":
            continue
        cells = {metric: result.cells.get((row.label, metric), CellResult()) for metric in table.metrics}
        if all(cell.reason == GENERATED for cell in cells.values()):  # no part of this scale
            continue
        views = [_cell(cell, row, metric, marks, effects, own) for metric, cell in cells.items()]
        runs = dict.fromkeys(run for cell in cells.values() for _, run in sorted(cell.runs.items()))
        notes = [
            row.split and f"evaluated on {row.split}",
            row.protocol and f"{row.protocol} protocol",
            row.note,
        ]
        view = RowView(
            row.label,
            "ours" if row.ours else row.kind,
            row.quote or "",
            [note for note in notes if note],
            list(runs),
            views,
        )
        if row.kind == "train" and effects:
            against = table.reference_of(row.label)
            view.reference = row.label == against
            main = table.reference_of("")
            view.against = "" if view.reference or against == main else against or ""
        rows.append(view)
    shown = TableView(
        table, scale, scale_caption(scale), rows, {m: r for r, m in marks.items()}, effects, result.ran
    )
    everywhere = _of_all(result.ran)
    for text, labels in (result.ran.nets if result.ran else {}).items():
        for view in rows:
            if view.label in labels and text not in everywhere:
                view.nets = text
    return shown


def _of_all(ran: Ran | None) -> list[str]:
    """The stand-in, where all rows with one have the same."""
    return list(ran.nets) if ran is not None and len(ran.nets) == 1 else []


def _cell(
    cell: CellResult, row: Row, metric: str, marks: dict[str, str], effects: bool, own: bool
) -> CellView:
    """The text of a cell. marks: reason -> mark, added to where new."""
    digits = max(1, cell.decimals)
    published = "" if cell.published is None else f"{cell.published:.{cell.decimals}f}"
    ours = is_ours(metric)
    view = CellView("empty", published=published, ours=ours, published_key=cell.published)
    if effects and cell.effect:
        _fill_effect(view, cell.effect, digits)
    if cell.mean is not None:
        view.kind, view.n, view.best, view.stale = "measured", cell.n, cell.leads, cell.stale
        view.source = cell.source
        view.mean, view.measured_key = f"{cell.mean:.{digits}f}", cell.mean
        view.std = "" if cell.std is None else f"{cell.std:.{digits}f}"
        if cell.published is not None and not effects:
            view.difference = signed(cell.mean - cell.published, digits)
    elif row.kind == "quote":
        view.kind = "quoted" if published else "empty"
    elif cell.undefined:
        view.kind, view.reason = "undefined", cell.reason or ""
    elif published or ((row.ours or ours or own) and cell.meant):
        view.kind, view.reason = "missing", cell.reason or "not run"
        view.note = marks.setdefault(view.reason, _mark(len(marks)))
    else:
        view.reason = cell.reason or ""
    return view


def _fill_effect(view: CellView, effect: Effect, digits: int) -> None:
    if effect.published is not None:
        view.published_effect = signed(effect.published, digits)
    if effect.same:
        view.effect = "same runs"
    elif effect.mean is not None:
        view.effect = signed(effect.mean, digits)
        if effect.interval is not None:
            low, high = effect.interval
            view.bounds = f"[{signed(low, digits)}, {signed(high, digits)}]"
            view.half = f"{(high - low) / 2:.{digits}f}"


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
