"""What every output format of a table must keep: each published number, each measured one, each escape."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from tests.report import fabricated
from wsis.report.effects import fill_effects
from wsis.report.markup import templates
from wsis.report.model import Ran
from wsis.report.tables import md_escape, to_csv, to_markdown
from wsis.report.view import signed, table_view


def to_html(result, scale):
    return str(templates().get_template("table.html").module.data_table(table_view(result, scale)))


FORMATS = {"md": to_markdown, "html": to_html}
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
def test_markdown_rows_have_as_many_cells_as_the_head(result):
    lines = [line for line in to_markdown(result, "tiny").splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(result.table.rows)
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(result.table.metrics) + 2}


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_ours_says_so_in_every_format(form):
    """Rows by a mark, columns by a header over or before their names in words, and a note what they are."""
    text = FORMATS[form](TABLES[3], "tiny").replace("\\_", "_")
    own = {"md": "*(ours)*", "html": '">ours</span>'}[form]
    assert text.count(own) == 2
    for words in ("pseudo masks: IoU at 0.5", "pseudo masks: labelled", "M_S: AUC", "M_I: AUC, overlapping"):
        assert words in text
    group = {"md": "ours: M_S: AUC", "html": 'colspan="4">ours'}[form]
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


def test_escapes_leave_no_markup():
    assert md_escape("a|b*c_<d>\ne") == r"a\|b\*c\_\<d\> e"


def test_bold_is_what_leads_outside_the_noise():
    """A tie, a lead inside the noise and one seed have no bold cell; nor has a share of edges."""
    result = fabricated.threshold_table()
    steady = {"fully-sup.": 42.0, "τ = 0": 1.0, "τ = 0.1": 40.0, "τ = 0.2": 40.0}
    shake = {label: (0.1 * i, -0.1 * i, 0.05) for i, label in enumerate(steady)}

    def bold(**levels: float) -> list[str]:
        for label, level in (steady | levels).items():
            result.cells[label, "AP"].values = {s: level + shift for s, shift in enumerate(shake[label])}
        for cell in result.cells.values():
            cell.leads = False
        fill_effects(result)
        view = table_view(result, "tiny")
        column = view.table.columns.index("AP")
        assert not any(row.cells[view.table.columns.index("prop")].best for row in view.rows)
        return [row.label for row in view.rows if row.cells[column].best]

    assert bold() == ["fully-sup."]
    assert bold(**{"τ = 0.2": 41.9}) == []
    shake["τ = 0.2"] = shake["fully-sup."]
    assert bold(**{"τ = 0.2": 42.0}) == []
    for label in shake:
        shake[label] = (0.0,)
    assert bold() == []


def test_kinds_of_cells():
    view = table_view(TABLES[1], "tiny")
    rows = {row.label: row for row in view.rows}
    assert {cell.kind for cell in rows["BBTP"].cells} == {"quoted"}
    assert {cell.kind for cell in rows["Box mask"].cells} == {"measured"}
    missing = [cell for cell in rows[f"Long label {fabricated.EVIL}"].cells if cell.kind == "missing"]
    assert missing and all(view.footnotes[cell.note] == cell.reason for cell in missing)
    assert not rows["Box mask"].stale and table_view(TABLES[0], "tiny").rows[3].stale


def test_levels_are_compared_at_paper_and_effects_below():
    result = fabricated.threshold_table()
    result.cells["τ = 0.2", "AP"].values = {0: 30.3}
    fill_effects(result)
    cell = table_view(result, "paper").rows[3].cells[1]
    assert (cell.mean, cell.std, cell.n, cell.difference, cell.effect) == ("30.3", "", 1, "-0.3", "")
    view = table_view(result, "tiny")
    cell = view.rows[3].cells[1]
    reference = result.cells["τ = 0.1", "AP"].values[0]
    assert cell.difference == "" and cell.effect == signed(30.3 - reference, 1)
    assert (cell.bounds, cell.published_effect) == ("", "-0.1")  # one seed has no interval
    assert [row.reference for row in view.rows] == [False, False, True, False]
    assert view.rows[2].cells[1].effect == ""
    assert (signed(0.04, 1), signed(-0.04, 1), signed(2, 1)) == ("0.0", "0.0", "+2.0")


@pytest.mark.parametrize("form", FORMATS)
def test_undefined_is_no_missing_run(form):
    result = fabricated.threshold_table()
    cell = result.cells["τ = 0.2", "APL"]
    cell.values, cell.undefined, cell.reason = {}, True, "APL is undefined on this data"
    fill_effects(result)
    view = table_view(result, "tiny")
    assert view.rows[3].cells[-1].kind == "undefined" and "undefined" in FORMATS[form](result, "tiny")
    assert not any(reason.startswith("APL") for reason in view.footnotes.values())


@pytest.mark.parametrize("form", FORMATS)
def test_own_data_have_own_words_and_no_published_number(form):
    """What was run stands above the table; no caption, split or system of the paper's does."""
    result = fabricated.systems_table()
    result.ran = Ran("street: 3 classes (car, bus, tram), split val2017", own=True)
    for cell in result.cells.values():
        cell.published = cell.interval = None
    fill_effects(result)
    text = FORMATS[form](result, "mini")
    assert "Main results" not in text and "BBTP" not in text and "21.1" not in text
    assert (
        table_view(result, "mini").caption == "Measured on street: 3 classes (car, bus, tram), split val2017."
    )
