"""A table to paste into an issue: a pipe table with a caption below."""

from __future__ import annotations

from wsis.report.model import TableResult
from wsis.report.paste.numbers import Number, Variant, columns_of, legend_of, marks_of, notes_of, rows_of
from wsis.report.tables import md_escape, pipe_table
from wsis.report.view import RowView, table_view


def to_plain_markdown(result: TableResult, scale: str, variant: Variant) -> str:
    """The rows and columns of a variant, and what they are."""
    view = table_view(result, scale)
    columns = columns_of(view, variant)
    header = ["", *(md_escape(" ".join(filter(None, (c.over, c.head)))) for c in columns)]
    rows = [
        [md_escape(row.label) + _md_marks(row, variant), *(_md_number(c.numbers[i]) for c in columns)]
        for i, row in enumerate(rows_of(view, variant))
    ]
    caption = f"{view.name}: {view.table.title}. {legend_of(view, variant)} {notes_of(view, variant)}"
    return f"{pipe_table(header, rows)}\n\n{md_escape(caption.strip())}\n"


def _md_marks(row: RowView, variant: Variant) -> str:
    return f" *({', '.join(marks)})*" if (marks := marks_of(row, variant)) else ""


def _md_number(number: Number) -> str:
    text = number.words or number.value or "–"  # noqa: RUF001 (as in a table)
    text += f" ± {number.spread}" if number.spread else ""
    return f"**{text}**" if number.bold else f"*{text}*" if number.quoted else text
