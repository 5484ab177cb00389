"""What every output format of a table must keep: each published number, each measured one, each escape."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from tests.report import fabricated
from wsis.report.markup import templates
from wsis.report.model import CellResult
from wsis.report.tables import md_escape, tex_escape, to_csv, to_markdown, to_tex
from wsis.report.view import signed, table_view


def to_html(result, scale):
    return str(templates().get_template("table.html").module.data_table(table_view(result, scale)))


FORMATS = {"md": to_markdown, "tex": to_tex, "html": to_html}
TABLES = [
    fabricated.threshold_table(),
    fabricated.systems_table(),
    fabricated.unrun_table("sim", "2"),
    fabricated.measures_table(),
]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_every_number_stands_in_every_format(result, form):
    text = FORMATS[form](result, "tiny")
    for cell in result.cells.values():
        if cell.published is not None:
            assert f"{cell.published:.1f}" in text
        if cell.n:
            assert f"{cell.mean:.1f}" in text


@pytest.mark.parametrize("form", FORMATS)
def test_the_scale_and_the_way_to_fill_a_cell_are_named(form):
    text = FORMATS[form](TABLES[1], "tiny")
    assert "at scale tiny" in text and "not comparable in absolute value" in text
    assert "python -m wsis train --scale tiny boxinst-" in text.replace("\\", "")


class _Tags(HTMLParser):
    """Collects tags, texts and attributes, and checks that tags close in order."""

    VOID = ("meta", "link", "img", "input", "br", "hr", "path", "use")

    def __init__(self, text: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_html_shows_a_hostile_label_as_text():
    page = _Tags(to_html(TABLES[1], "tiny"))
    assert not page.open
    assert "script" not in [tag for tag, _ in page.tags]
    assert any(fabricated.EVIL in text for text in page.texts)


def test_html_sort_keys_are_the_unrounded_numbers():
    page = _Tags(to_html(TABLES[0], "tiny"))
    keys = [
        float(attrs["data-measured"]) for tag, attrs in page.tags if tag == "td" and "data-measured" in attrs
    ]
    wanted = [TABLES[0].cells[r, m].mean for r in TABLES[0].table.labels for m in TABLES[0].table.columns]
    assert keys == [value for value in wanted if value is not None]


@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_csv_reads_back_as_the_same_numbers(result):
    frame = pd.read_csv(io.StringIO(to_csv(result, "tiny"))).set_index("label")
    assert list(frame.index) == result.table.labels
    assert list(frame["kind"]) == ["ours" if row.ours else row.kind for row in result.table.rows]
    for (label, metric), cell in result.cells.items():
        read = frame.loc[label]
        if metric in result.table.measures:
            assert f"{metric} published" not in read and f"ours: {metric} published" not in read
            metric = f"ours: {metric}"
        for name, value in (
            ("measured mean", cell.mean),
            ("measured std", cell.std),
            ("published", cell.published),
        ):
            if name == "published" and metric.startswith("ours"):
                continue
            got = read[f"{metric} {name}"]
            assert pd.isna(got) if value is None else got == pytest.approx(value, rel=1e-12)
        assert read[f"{metric} measured n"] == cell.n
        if cell.runs:
            assert read["recipe"].split() == list(cell.runs.values())


@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_tex_is_balanced_and_escaped(result):
    """Braces, environments and math close; every row has as many & as the head; no bare special letter."""
    text = to_tex(result, "tiny")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.isascii()
    bare = re.sub(r"\\.", "", body)
    assert bare.count("{") == bare.count("}")
    depth = 0
    for letter in bare:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[%#~]", re.sub(r"\$~", "$", bare))
    outside_math = re.sub(r"\$[^$]*\$", "", bare)
    assert "_" not in outside_math and "^" not in outside_math
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    heads = 2 if result.table.measures else 1
    assert len(rows) == heads + len(result.table.rows)
    widths = [
        len(re.findall(r"(?<!\\)&", row))
        + sum(int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", row))
        for row in rows
    ]
    assert set(widths) == {len(result.table.metrics)}


@pytest.mark.parametrize("result", TABLES, ids=lambda result: result.table.key)
def test_markdown_rows_have_as_many_cells_as_the_head(result):
    lines = [line for line in to_markdown(result, "tiny").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(result.table.rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(result.table.metrics) + 2}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_ours_says_so_in_every_format(form):
    """Rows by a mark, columns by a header over or before their names in words, and a note what they are."""
    text = FORMATS[form](TABLES[3], "tiny").replace("\\_", "_")
    own = {"md": "*(ours)*", "tex": r"\emph{(ours)}", "html": '">ours</span>'}[form]
    assert text.count(own) == 2
    for words in ("pseudo masks: IoU at 0.5", "pseudo masks: labelled", "M_S: AUC", "M_I: AUC, overlapping"):
        assert words in text
    group = {"md": "ours: M_S: AUC", "tex": r"\multicolumn{4}{c}{ours}", "html": 'colspan="4">ours'}[form]
    assert group in text
    assert "not the paper" in text and "with the warm-up checkpoint" in text
    for result in TABLES[:3]:
        assert "warm-up checkpoint" not in FORMATS[form](result, "tiny")


def test_html_has_a_header_cell_a_column_and_groups_as_wide_as_the_table():
    page = _Tags(to_html(TABLES[3], "tiny"))
    heads = [attrs for tag, attrs in page.tags if tag == "th" and attrs.get("scope") == "col"]
    assert len(heads) == 1 + len(TABLES[3].table.metrics)
    assert sum(int(attrs.get("colspan", 0)) for _, attrs in page.tags) == len(heads)
    assert [attrs["class"] for attrs in heads if attrs.get("class") != "label" and "class" in attrs] == [
        "ours"
    ] * 4


def test_missing_cells_of_ours():
    """A row that did not run says how to fill it, also where nothing is printed; one without masks a dash."""
    view = table_view(TABLES[3], "tiny")
    rows = {row.label: row for row in view.rows}
    assert {cell.kind for cell in rows["W & literal"].cells} == {"missing"}
    assert all(cell.published == "" for cell in rows["W & literal"].cells)
    base = rows["baseline"].cells
    assert [cell.kind for cell in base] == ["measured"] * 2 + ["empty"] * 4
    assert {cell.reason for cell in base[2:]} == {"no pseudo masks"}
    control = rows["control: nothing inside"]
    assert {cell.kind for cell in control.cells} == {"measured"} and control.measured
    assert all(cell.difference == "" for cell in control.cells)


def test_coverage_has_no_best_and_nothing_equal_has_one():
    result = fabricated.measures_table()
    for label in result.table.labels[1:4]:
        result.cells[label, "semantic_AUC"].values = {0: 70.0, 1: 71.0}
    view = table_view(result, "tiny")
    best = {
        metric: [row.label for row, cell in zip(view.rows, column, strict=True) if cell.best]
        for metric, column in zip(
            result.table.metrics, zip(*(r.cells for r in view.rows), strict=True), strict=True
        )
    }
    assert best["pseudo_cover"] == best["semantic_AUC"] == []
    assert len(best["pseudo_IoU"]) == 1 and best["AP"] == ["control: nothing inside"]


def test_escapes_leave_no_markup():
    assert tex_escape("a_b & 50% #1 {x} $y$ ~ ^ \\") == (
        r"a\_b \& 50\% \#1 \{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert md_escape("a|b*c_<d>\ne") == r"a\|b\*c\_\<d\> e"


def test_the_best_measured_value_is_bold_and_only_that():
    view = table_view(TABLES[0], "tiny")
    column = view.table.columns.index("AP")
    cells = [row.cells[column] for row in view.rows]
    assert [cell.best for cell in cells] == [
        c.measured_key == max(o.measured_key for o in cells) for c in cells
    ]
    assert not any(row.cells[view.table.columns.index("prop")].best for row in view.rows)
    single = fabricated.threshold_table()
    for (label, _), cell in single.cells.items():
        if label != "τ = 0":
            cell.values = {}
    assert not any(cell.best for row in table_view(single, "tiny").rows for cell in row.cells)


def test_kinds_of_cells():
    view = table_view(TABLES[1], "tiny")
    rows = {row.label: row for row in view.rows}
    assert {cell.kind for cell in rows["BBTP"].cells} == {"quoted"}
    assert {cell.kind for cell in rows["Box mask"].cells} == {"measured"}
    missing = [cell for cell in rows[f"Long label {fabricated.EVIL}"].cells if cell.kind == "missing"]
    assert missing and all(view.footnotes[cell.note] == cell.reason for cell in missing)
    assert not rows["Box mask"].stale and table_view(TABLES[0], "tiny").rows[3].stale


def test_one_seed_has_no_spread_and_differences_are_signed():
    result = fabricated.threshold_table()
    result.cells["τ = 0.1", "AP"] = CellResult(30.7, (30.65, 30.75), {0: 30.3})
    cell = table_view(result, "tiny").rows[2].cells[1]
    assert (cell.mean, cell.std, cell.n, cell.difference) == ("30.3", "", 1, "-0.4")
    assert (signed(0.04, 1), signed(-0.04, 1), signed(2, 1)) == ("0.0", "0.0", "+2.0")
