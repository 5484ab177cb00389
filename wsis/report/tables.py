"""A table as Markdown, CSV and LaTeX (booktabs)."""

# ruff: noqa: RUF001  (the letters that LaTeX needs spelled out are the ambiguous ones)

from __future__ import annotations

import csv
import io
import re

from tabulate import tabulate

from wsis.report.model import CellResult, TableResult
from wsis.report.view import CellView, RowView, table_view

GROUP = "ours"  # the header over the measures in every format
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "\n": " ",
    "τ": r"$\tau$", "θ": r"$\theta$", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
    "λ": r"$\lambda$", "μ": r"$\mu$", "±": r"$\pm$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$",
    "→": r"$\to$", "−": "$-$",
    "†": r"\dag{}", "‡": r"\ddag{}", "✓": r"\checkmark{}", "✗": r"$\times$", "∗": "$*$",
    "–": "--", "—": "---", "…": r"\ldots{}",
    **{letter: f"$_{digit}$" for digit, letter in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}  # fmt: skip


def tex_escape(text: str) -> str:
    """`text` for LaTeX: its special characters escaped, Greek letters and signs in math mode."""
    return "".join(_TEX.get(letter, letter) for letter in text)


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
    """A pipe table: 'mean ± std (n)' and the published number and difference in the same cell."""
    view = table_view(result, scale)
    header = [*view.table.header, *(f"{GROUP}: {name}" for name in view.measure_header)]
    lines = [
        f"### {md_escape(view.name)}: {md_escape(view.table.title)}",
        "",
        md_escape(view.table.caption),
        "",
        f"*{md_escape(view.scale_caption)}.* Each cell: measured mean ± sample standard deviation (n seeds); "
        "published number, difference in brackets. Best measured value in bold.",
        "",
        tabulate(
            [[_md_label(row), *(_md_cell(cell) for cell in row.cells)] for row in view.rows],
            headers=["", *(md_escape(name) for name in header)],
            tablefmt="pipe",
            colalign=["left", *("right" for _ in header)],
            disable_numparse=True,
        ),
    ]
    if view.measure_note:
        lines += ["", md_escape(view.measure_note)]
    if view.footnotes:
        lines += ["", *(f"- <sup>{mark}</sup> {md_escape(text)}" for mark, text in view.footnotes.items())]
    return "\n".join(lines) + "\n"


def _md_label(row: RowView) -> str:
    return md_escape(row.label) + (f" *({', '.join(row.marks)})*" if row.marks else "")


def _md_cell(cell: CellView) -> str:
    if cell.kind == "empty":
        return "–"
    if cell.kind == "quoted":
        return f"*{cell.published}*"
    published = f"published {cell.published}" if cell.published else ""
    if cell.kind == "missing":
        return "<br>".join(part for part in (f"not run <sup>{cell.note}</sup>", published) if part)
    value = f"**{cell.mean}**" if cell.best else cell.mean
    value += (f" ± {cell.std}" if cell.std else "") + f" ({cell.n})"
    difference = f" ({cell.difference})" if cell.difference else ""
    return "<br>".join(part for part in (value, published + difference) if part)


def to_tex(result: TableResult, scale: str) -> str:
    r"""A `table` environment with booktabs rules; \checkmark needs amssymb, nothing else but booktabs."""
    view = table_view(result, scale)
    printed, measures = view.table.header, view.measure_header
    head = " & ".join(["", *(tex_escape(name) for name in (*printed, *measures))]) + r" \\"
    group = [
        " & " * len(printed) + rf" & \multicolumn{{{len(measures)}}}{{c}}{{{GROUP}}} \\",
        rf"\cmidrule(l){{{len(printed) + 2}-{len(printed) + len(measures) + 1}}}",
    ]
    lines = [
        "% needs \\usepackage{booktabs,amssymb}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{tex_escape(view.name)}: {tex_escape(view.table.title)} "
        rf"({tex_escape(view.scale_caption)}). "
        r"Mean $\pm$ sample standard deviation over seeds ($n$ as subscript); published numbers in "
        r"parentheses, quoted rows in italics, best measured value in bold.}",
        rf"\label{{tab:{view.anchor}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(printed) + len(measures))}}}",
        r"\toprule",
        *(group if measures else []),
        head,
        r"\midrule",
    ]
    lines += [
        " & ".join([_tex_label(row), *(_tex_cell(cell) for cell in row.cells)]) + r" \\" for row in view.rows
    ]
    lines += [r"\bottomrule", r"\end{tabular}"]
    if view.measure_note:
        lines += [r"\par\smallskip\footnotesize " + tex_escape(view.measure_note)]
    if view.footnotes:
        notes = "; ".join(rf"$^{{{mark}}}$~{tex_escape(text)}" for mark, text in view.footnotes.items())
        lines += [r"\par\smallskip\footnotesize " + notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _tex_label(row: RowView) -> str:
    return tex_escape(row.label) + (rf" \emph{{({', '.join(row.marks)})}}" if row.marks else "")


def _tex_cell(cell: CellView) -> str:
    if cell.kind == "empty":
        return "--"
    if cell.kind == "quoted":
        return rf"\emph{{{cell.published}}}"
    published = f" ({cell.published})" if cell.published else ""
    if cell.kind == "missing":
        return rf"not run$^{{{cell.note}}}${published}"
    value = rf"\textbf{{{cell.mean}}}" if cell.best else cell.mean
    spread = rf" $\pm$ {cell.std}" if cell.std else ""
    return rf"{value}{spread}$_{{{cell.n}}}${published}"
