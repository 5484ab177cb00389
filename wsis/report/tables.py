"""A table as CSV and Markdown."""

from __future__ import annotations

import csv
import io
import re

from tabulate import tabulate

from wsis.report.markup import NONE
from wsis.report.model import CellResult, TableResult
from wsis.report.view import CellView, RowView, table_view

GROUP = "ours"  # the header over the measures in every format


def md_escape(text: str) -> str:
    """`text` for a cell of a Markdown table: no letter of it is markup."""
    return re.sub(r"([\\`*_{}\[\]<>|~#$])", r"\\\1", " ".join(text.split()))


def to_csv(result: TableResult, scale: str) -> str:
    """One line a row, numbers unrounded, an absent number an empty field.

    Columns: label, kind (train, ours, quote), for each metric '<metric> measured mean', '... measured std',
    '... measured n' and '<metric> published', for each measure of ours those three as 'ours: <measure> ...',
    then recipe (run ids of all seeds, separated by blanks), scale.
    """
    table = result.table
    names = ("measured mean", "measured std", "measured n")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    header = [f"{metric} {name}" for metric in table.columns for name in (*names, "published")]
    header += [f"{GROUP}: {measure} {name}" for measure in table.measures for name in names]
    writer.writerow(["label", "kind", *header, "recipe", "scale"])
    for row in table_view(result, scale).rows:
        line: list[str | float | None] = [row.label, row.kind]
        for metric in table.metrics:
            cell = result.cells.get((row.label, metric), CellResult())
            line += [cell.mean, cell.std, cell.n]
            line += [cell.published] if metric in table.columns else []
        writer.writerow([*line, " ".join(row.runs), scale])
    return out.getvalue()


def to_markdown(result: TableResult, scale: str) -> str:
    """A pipe table with all there is in each cell: what is compared first, then the rest."""
    view = table_view(result, scale)
    header = [*view.table.header, *(f"{GROUP}: {name}" for name in view.measure_header)]
    lines = [
        f"### {md_escape(view.name)}: {md_escape(view.table.title)}",
        "",
        md_escape(view.caption),
        "",
        *(f"- {md_escape(note)}" for note in view.header_notes),
        *([""] if view.header_notes else []),
        f"*{md_escape(view.scale_caption)}.* {_HOW_TO_READ[view.effects]}",
        "",
        pipe_table(
            ["", *(md_escape(name) for name in header)],
            [[_md_label(row), *(_md_cell(cell) for cell in row.cells)] for row in view.rows],
        ),
    ]
    if view.measure_note:
        lines += ["", md_escape(view.measure_note)]
    if view.footnotes:
        lines += ["", *(f"- <sup>{mark}</sup> {md_escape(text)}" for mark, text in view.footnotes.items())]
    return "\n".join(lines) + "\n"


_HOW_TO_READ = {
    True: "Each cell: the difference to the reference row, paired by seed [95 % interval]; the published "
    "difference; measured mean ± sample standard deviation (n seeds) and the published number. "
    "Bold: best, its lead outside the noise.",
    False: "Each cell: measured mean ± sample standard deviation (n seeds); published number, difference in "
    "brackets. Bold: best, its lead outside the noise.",
}


def pipe_table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, its first column on the left, the others on the right."""
    align = ["left", *("right" for _ in header[1:])]
    return tabulate(rows, headers=header, tablefmt="pipe", colalign=align, disable_numparse=True)


def _md_label(row: RowView) -> str:
    return md_escape(row.label) + (f" *({', '.join(row.marks)})*" if row.marks else "")


def _md_cell(cell: CellView) -> str:
    if cell.kind == "empty":
        return NONE
    if cell.kind == "quoted":
        return f"*{cell.published}*"
    published = f"published {cell.published}" if cell.published else ""
    printed = f"published {cell.published_effect}" if cell.published_effect else ""
    if cell.kind == "undefined":
        return "<br>".join(part for part in ("undefined", published) if part)
    if cell.kind == "missing":
        return "<br>".join(part for part in (f"not run <sup>{cell.note}</sup>", published) if part)
    value = cell.mean + (f" ± {cell.std}" if cell.std else "") + f" ({cell.n})"
    if cell.effect:
        effect = f"**{cell.effect}**" if cell.best else cell.effect
        level = ", ".join(part for part in (value, published) if part)
        return "<br>".join(part for part in (f"{effect} {cell.bounds}".strip(), printed, level) if part)
    value = f"**{cell.mean}**{value.removeprefix(cell.mean)}" if cell.best else value
    difference = f" ({cell.difference})" if cell.difference else ""
    return "<br>".join(part for part in (value, published + difference) if part)
