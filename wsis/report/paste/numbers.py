"""What a variant of a pasted table shows: rows, columns of numbers as text, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wsis.report.tables import GROUP
from wsis.report.view import CellView, RowView, TableView

Variant = Literal["measured", "published", "both", "effects"]
VARIANTS: tuple[Variant, ...] = ("measured", "published", "both", "effects")


@dataclass(frozen=True)
class Number:
    """A number of a pasted table as text: '' where there is none. spread: after the sign of plus or minus."""

    value: str = ""
    spread: str = ""
    bold: bool = False
    quoted: bool = False
    words: str = ""  # instead of a number


@dataclass
class Column:
    """A column: its head, the head over it and its neighbours, and a number a row."""

    head: str
    over: str
    numbers: list[Number]


def default_variant(view: TableView) -> Variant:
    return "effects" if view.effects else "both"


def rows_of(view: TableView, variant: Variant) -> list[RowView]:
    """All rows; without the quoted ones where only what was trained is shown."""
    return view.trained if variant in ("measured", "effects") else view.rows


def columns_of(view: TableView, variant: Variant) -> list[Column]:
    """The columns of a variant; measures of ours follow, but not where only published numbers are shown."""
    columns: list[Column] = []
    heads = [*view.table.header, *view.measure_header]
    for index, head in enumerate(heads):
        ours = index >= len(view.table.header)
        rows = rows_of(view, variant)
        cells = [row.cells[index] for row in rows]
        measured = [_measured(row.cells[index], row, variant) for row in rows]
        if ours:
            columns += [] if variant == "published" else [Column(head, GROUP, measured)]
        elif variant == "measured":
            columns.append(Column(head, "", measured))
        elif variant == "published":
            columns.append(Column(head, "", [_published(cell, variant) for cell in cells]))
        else:
            published = [_published(cell, variant) for cell in cells]
            columns += [Column("meas.", head, measured), Column("publ.", head, published)]
    return columns


def _measured(cell: CellView, row: RowView, variant: Variant) -> Number:
    if cell.kind == "undefined":
        return Number(words="undef.")
    if cell.kind != "measured":
        return Number()
    if variant == "effects" and cell.effect == "same runs":
        return Number(words="same")
    if variant == "effects" and not row.reference:
        return Number(cell.effect, cell.half, cell.best and bool(cell.effect))
    return Number(cell.mean, cell.std, cell.best)


def _published(cell: CellView, variant: Variant) -> Number:
    effect = cell.published_effect if variant == "effects" else ""
    return Number(effect or cell.published, quoted=cell.kind == "quoted")


def legend_of(view: TableView, variant: Variant) -> str:
    """What the numbers are, with n."""
    seeds = f" ({view.seeds})" if view.seeds else ""
    scale = f"{view.scale_caption[0].upper()}{view.scale_caption[1:]}."
    mean = f"mean ± sample standard deviation over seeds{seeds}"
    words = {
        "measured": f"Measured, {mean}. {scale}",
        "published": "As published.",
        "both": f"meas.: {mean}; publ.: as published. {scale}",
        "effects": "Differences to the reference row; meas.: paired by seed, ± half of the 95 % interval"
        f"{seeds}; publ.: of the published numbers. Reference rows show levels. {scale}",
    }
    bold = " Bold: best, its lead outside the noise." if variant != "published" else ""
    return words[variant] + bold


def notes_of(view: TableView, variant: Variant) -> str:
    """What is to be known of single columns and marks."""
    kinds = {cell.kind for row in rows_of(view, variant) for cell in row.cells}
    notes = [view.measure_note] if variant != "published" else []
    notes += ["Italics: quoted."] if "quoted" in kinds else []
    notes += [f"--: not run at scale {view.scale}."] if "missing" in kinds and variant != "published" else []
    if variant != "published":
        notes += [f"{note[0].upper()}{note[1:]}." for note in view.header_notes]
    return " ".join(note for note in notes if note)


def marks_of(row: RowView, variant: Variant) -> list[str]:
    return [mark for mark in row.marks if mark != "reference" or variant == "effects"]
