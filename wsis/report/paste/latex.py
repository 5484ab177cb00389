"""A table to paste into a paper, as LaTeX with booktabs and siunitx; a wide one is broken into panels."""

# ruff: noqa: RUF001  (the letters that LaTeX needs spelled out are the ambiguous ones)

from __future__ import annotations

import math
import re

from wsis.report.model import TableResult
from wsis.report.paste.numbers import (
    Column,
    Number,
    Variant,
    columns_of,
    default_variant,
    legend_of,
    marks_of,
    notes_of,
    rows_of,
)
from wsis.report.tables import GROUP
from wsis.report.view import RowView, table_view

COLUMN, PAGE = 206.0, 456.0  # points, a little below an article's in two columns
LETTER, GAP = 4.4, 8.0  # points of a letter at \footnotesize, and between two columns
LABEL = 118.0  # points of the widest label, wider ones are broken
LINE, HEAD, HIGH = 9.8, 45.0, 500.0  # points of a line, of a panel's head, and of all panels on a page
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
}  # fmt: skip

_LOW = "₀₁₂₃₄₅₆₇₈₉"


def tex_escape(text: str) -> str:
    """`text` for LaTeX: its special characters escaped, Greek letters and signs in math mode."""
    parts = re.split(f"([{_LOW}]+)", text)
    return "".join(
        f"$_{{{part.translate(str.maketrans(_LOW, '0123456789'))}}}$"
        if part and part[0] in _LOW
        else "".join(_TEX.get(letter, letter) for letter in part)
        for part in parts
    )


def to_tex(result: TableResult, scale: str, variant: Variant | None = None) -> str:
    """A `table`, or `table*` where it is wider than a column; several where they are higher than a page.

    variant: default `effects`, at scale paper `both`.
    """
    view = table_view(result, scale)
    variant = variant or default_variant(view)
    rows, columns = rows_of(view, variant), columns_of(view, variant)
    labels = [_tex_label(row, variant) for row in rows]
    wide = [LETTER * len(row.label) + 50 * bool(marks_of(row, variant)) for row in rows]
    label = min(LABEL, max(wide, default=0))
    one = label + sum(_width(column) for column in columns) <= COLUMN
    kind = "table" if one else "table*"
    height = HEAD + LINE * sum(math.ceil(width / LABEL) for width in wide)
    caption = f"{view.name}: {view.table.title}. {legend_of(view, variant)}"
    lines = ["% \\usepackage{booktabs,siunitx,amssymb}"]
    panels, each = _panels(columns, label), max(1, int(HIGH // height))
    for first in range(0, len(panels), each):
        lines += [
            rf"\begin{{{kind}}}",
            r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
            r"\sisetup{separate-uncertainty, retain-explicit-plus, detect-weight, mode=text}",
            rf"\caption{{{tex_escape(f'{view.name}, continued.' if first else caption)}}}",
            r"\par\smallskip",
            *([] if first else [rf"\label{{tab:{view.anchor}-{variant}}}"]),
        ]
        for panel in panels[first : first + each]:
            lines += _panel(panel, labels, label)
        if first + each >= len(panels) and (notes := notes_of(view, variant)):
            lines.append(
                rf"\par\smallskip\parbox{{\linewidth}}{{\scriptsize\raggedright\sloppy {tex_escape(notes)}}}"
            )
        lines.append(rf"\end{{{kind}}}")
    return "\n".join(lines) + "\n"


def _tex_label(row: RowView, variant: Variant) -> str:
    marks = marks_of(row, variant)
    return tex_escape(row.label) + (rf" \emph{{({', '.join(marks)})}}" if marks else "")


def _format(column: Column) -> tuple[int, int, int, bool]:
    """Digits before and after the point, digits of the spread, and whether there is a sign."""
    values = [n.value for n in column.numbers if n.value and not n.quoted]
    spreads = [n.spread for n in column.numbers if n.spread and not n.quoted]
    whole = max((len(value.lstrip("+-").partition(".")[0]) for value in values), default=1)
    places = max((len(value.partition(".")[2]) for value in values), default=1)
    spread = max((len(s.replace(".", "").lstrip("0")) or 1 for s in spreads), default=0)
    return whole, places, spread, any(value[0] in "+-" for value in values)


def _width(column: Column) -> float:
    whole, places, spread, sign = _format(column)
    letters = whole + places + 1 + sign + (spread + 3.5 if spread else 0)
    longest = max(map(len, column.head.split()), default=0)
    return LETTER * max(letters, min(len(column.head), longest + 1), 5) + GAP


def _panels(columns: list[Column], label: float) -> list[list[Column]]:
    """Columns that fit side by side; those under one head stay together."""
    panels: list[list[Column]] = [[]]
    left = PAGE - label
    for group in _groups(columns):
        width = max(
            sum(map(_width, group)), LETTER * len(group[0].over) + GAP if group[0].over != GROUP else 0
        )
        if panels[-1] and width > left:
            panels.append([])
            left = PAGE - label
        panels[-1] += group
        left -= width
    return panels


def _groups(columns: list[Column]) -> list[list[Column]]:
    """Neighbours under one head; measures of ours one by one."""
    groups: list[list[Column]] = []
    for column in columns:
        joined = groups and column.over and column.over != GROUP and groups[-1][0].over == column.over
        groups[-1].append(column) if joined else groups.append([column])
    return groups


def _panel(columns: list[Column], labels: list[str], label: float) -> list[str]:
    """A tabular of these columns, in LaTeX."""
    spec = rf"@{{}}>{{\raggedright\arraybackslash}}p{{{label:.0f}pt}}" + "".join(map(_spec, columns)) + "@{}"
    lines = [rf"\begin{{tabular}}{{{spec}}}", r"\toprule"]
    if any(column.over for column in columns):
        over, rules, at = [], [], 2
        for name, count in _spans(columns):
            over.append(rf"\multicolumn{{{count}}}{{c}}{{{tex_escape(name)}}}")
            rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if name else []
            at += count
        lines += [" & ".join(["", *over]) + r" \\", "".join(rules)]
    lines += [" & ".join(["", *(_head(column) for column in columns)]) + r" \\", r"\midrule"]
    for index, name in enumerate(labels):
        lines.append(" & ".join([name, *(_tex_number(c.numbers[index]) for c in columns)]) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}\par\medskip"]


def _spans(columns: list[Column]) -> list[tuple[str, int]]:
    spans: list[tuple[str, int]] = []
    for column in columns:
        if spans and spans[-1][0] == column.over and column.over in (GROUP, ""):
            spans[-1] = column.over, spans[-1][1] + 1
        elif spans and spans[-1][0] == column.over and spans[-1][1] < 2:
            spans[-1] = column.over, 2
        else:
            spans.append((column.over, 1))
    return spans


def _spec(column: Column) -> str:
    whole, places, spread, sign = _format(column)
    form = f"{'+' if sign else ''}{whole}.{places}" + (f"({spread})" if spread else "")
    return f"S[table-format={form}]"


def _head(column: Column) -> str:
    """A long head is broken into lines as wide as the column's numbers."""
    width = max(_width(column) - GAP, 34)
    text = tex_escape(column.head)
    if LETTER * len(column.head) <= width:
        return f"{{{text}}}"
    return rf"{{\parbox[b]{{{width:.0f}pt}}{{\centering\hspace{{0pt}}{text}}}}}"


def _tex_number(number: Number) -> str:
    if number.words:
        return f"{{{number.words}}}"
    if not number.value:
        return "{--}"
    if number.quoted:
        return rf"{{\emph{{{number.value}}}}}"
    text = number.value + (rf" \pm {number.spread}" if number.spread else "")
    return rf"\bfseries {text}" if number.bold else text
