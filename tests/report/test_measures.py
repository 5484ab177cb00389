"""Rows and measures of ours: their values, what is missing, and what they may decide."""

from __future__ import annotations

import math
from pathlib import Path

import pandas
import pytest

from tests.measures.measured_plans import (
    DATA,
    PLANS,
    cells_of,
    change,
    pseudo_plan,
    report_of,
    value,
    write_measures,
    write_runs,
)
from tests.report.results_folder import SEEDS, write
from wsis.measures.file import path_of
from wsis.measures.measure import Place
from wsis.measures.registry import sets
from wsis.measures.wanted import rows_asked
from wsis.plan import Plan, make_plan
from wsis.report import results as report_results
from wsis.report.build import build_report
from wsis.report.collect import write_metrics
from wsis.report.diff import compare, make_diff
from wsis.report.stats import published_interval
from wsis.report.view import table_view

# A row with measures, one of them, and the rows that have none of it, with the reason.
KINDS = {
    "pseudo": ("full", "pseudo_IoU", {"baseline": "no pseudo masks"}),
    "proxy": ("merge", "proxy_mIoU", dict.fromkeys(("network alone", "true masks"), "no proxy masks")),
    "boundary": ("full", "contact_AUC", dict.fromkeys(("none", "Mask R-CNN"), "no boundary map")),
}


@pytest.fixture(autouse=True)
def _unchanged(monkeypatch) -> None:
    """All code is that which made the results."""
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    monkeypatch.setattr(report_results, "hash_of", lambda modules: "now")


@pytest.fixture(params=PLANS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def plan(kind, tmp_path) -> Plan:
    """With everything run and measured."""
    plan = PLANS[kind]()
    write_runs(plan, tmp_path)
    write_measures(plan, tmp_path)
    return plan


@pytest.fixture
def sim(tmp_path) -> Plan:
    plan = pseudo_plan()
    write_runs(plan, tmp_path)
    write_measures(plan, tmp_path)
    return plan


def test_a_value_is_that_of_a_rows_own_place(kind, plan, tmp_path):
    (declared,) = plan.tables.values()
    cells, its_set = cells_of(plan, tmp_path), sets()[kind]
    values = 0
    for row in declared.rows:
        asked = rows_asked(plan, declared.key, row.label)
        for measure in declared.measures:
            cell, places = cells[row.label, measure], [its_set.place(each, measure) for each in asked]
            if not isinstance(places[0], Place):
                assert (cell.reason, cell.meant) == (places[0].reason, places[0].meant) and not cell.values
                continue
            expected = {each.run.seed: value(each, measure) for each in asked}
            if None in expected.values():
                assert "is undefined on this data" in cell.reason
                continue
            assert cell.values == expected and cell.reason is cell.published is cell.interval is None
            assert cell.runs == plan.row_runs(declared.key, row.label) and not cell.stale
            values += 1
    assert values > 10


def test_rows_that_have_no_such_measure_have_empty_cells(kind, plan, tmp_path):
    _, measure, absent = KINDS[kind]
    result = report_of(plan, tmp_path).tables[0]
    shown = {row.label: row for row in table_view(result, "tiny").rows}
    for label, reason in absent.items():
        assert result.cells[label, measure].reason == reason
        assert shown[label].cells[list(result.table.metrics).index(measure)].kind == "empty"


def test_what_is_not_measured_yet_says_what_fills_it(kind, plan, tmp_path):
    label, measure, _ = KINDS[kind]
    table = next(iter(plan.tables)).replace("/", "_")
    files = change(plan, tmp_path, kind, lambda content: None)
    first = files[0].read_bytes()
    for edit in (
        lambda content: [values.pop(measure) for values in content["values"].values()],  # a newer measure
        lambda content: content["values"].clear(),  # a newer row
    ):
        change(plan, tmp_path, kind, edit)
        assert cells_of(plan, tmp_path)[label, measure].reason.startswith(f"not run: snakemake {table} ")
    for file in files:
        file.unlink()
    assert cells_of(plan, tmp_path)[label, measure].reason.startswith(f"not run: snakemake {table} ")
    files[0].write_bytes(first)
    assert sum(cell.n for cell in cells_of(plan, tmp_path).values()) > 0


def test_measured_on_other_data_is_not_shown(kind, plan, tmp_path):
    label, measure, _ = KINDS[kind]
    plan.overrides = {"schedule.lr": 0.1}
    change(plan, tmp_path, kind, lambda content: content.update(data=DATA | {"fingerprint": "1f"}))
    cell = cells_of(plan, tmp_path)[label, measure]
    asked = rows_asked(plan, next(iter(plan.tables)), label)[0]
    key = sets()[kind].place(asked, measure).key
    assert not cell.values and not cell.stale
    assert cell.reason == (
        "measured on shapes-0 (1f), but trained on shapes-0 (0f); to measure again: "
        f"wsis measure {kind} {key} --scale tiny --set schedule.lr=0.1"
    )
    for run in plan.runs:  # where it is unknown what it was trained on
        (tmp_path / "tiny/runs" / run / "train.json").unlink()
    assert cells_of(plan, tmp_path)[label, measure].n == len(SEEDS)


@pytest.mark.parametrize("content", [{"values": 3}, {"maps": {}}, []])
def test_a_file_of_another_form_is_named(kind, plan, tmp_path, content):
    (path, *_) = change(plan, tmp_path, kind, lambda content: None)
    write(path, content or 3)
    report = report_of(plan, tmp_path)
    assert [*report.refused] == [f"{kind}/{path.stem}"] and str(path) in report.refused[f"{kind}/{path.stem}"]


def test_a_value_that_is_no_number_is_named(kind, plan, tmp_path):
    def spoil(content):
        content["values"] = {case: dict.fromkeys(values, "x") for case, values in content["values"].items()}

    (_path, *_) = change(plan, tmp_path, kind, spoil)
    assert all("valid number" in text for text in report_of(plan, tmp_path).refused.values())
    assert report_of(plan, tmp_path).refused


@pytest.mark.parametrize("edit", [{"code": "before"}, {"code": None}, {"weights": "of before"}])
def test_a_measure_of_other_code_or_of_other_weights_is_stale(kind, plan, tmp_path, edit):
    label, measure, _ = KINDS[kind]
    change(plan, tmp_path, kind, lambda content: content.update(edit))
    cells = cells_of(plan, tmp_path)
    assert cells[label, measure].stale and cells[label, measure].n == len(SEEDS)
    assert not cells[label, "AP"].stale


def test_a_measure_is_stale_with_its_run(kind, plan, tmp_path):
    label, measure, _ = KINDS[kind]
    assert not cells_of(plan, tmp_path)[label, measure].stale
    for file in (tmp_path / "tiny/measures" / kind).iterdir():
        write(tmp_path / "tiny/runs" / file.stem / "train.json", {"recipe": file.stem, "code": "before"})
    assert cells_of(plan, tmp_path)[label, measure].stale


def test_claims_over_measures(sim, tmp_path):
    judged = {claim.claim.id: claim for claim in report_of(sim, tmp_path).tables[0].claims}
    assert judged["masks"].verdict == "reproduced" and judged["masks"].published is None
    assert judged["maps"].verdict == "reproduced" and "M_S: AUC" in judged["maps"].detail
    assert judged["none"].verdict == "not run"


def test_a_reason_to_measure_is_a_footnote(sim, tmp_path):
    for run in sim.row_runs("sim/3", "full").values():
        sim.runs[run].recipe = sim.runs[run].recipe.model_copy(update={"init": None})
    view = table_view(report_of(sim, tmp_path).tables[0], "tiny")
    (row,) = (row for row in view.rows if row.label == "full")
    note = row.cells[[*view.table.metrics].index("pseudo_IoU")].note
    assert view.footnotes[note] == "no common warm-up to measure at"


def test_rows_of_ours_decide_nothing_unless_named(sim, tmp_path):
    """The control is far above all; the trend and the default rivals leave it out."""
    result = report_of(sim, tmp_path).tables[0]
    verdicts = {claim.claim.id: claim.verdict for claim in result.claims}
    assert verdicts["weak-best"] == "reproduced" and verdicts["full-best"] == "contradicted"
    assert verdicts["weak-best-of-all"] == "contradicted"
    assert {c.claim.id: c.published for c in result.claims}["full-best"] is True
    assert (result.trend.n, result.trend.best_measured, result.trend.metric) == (3, "weak", "AP")
    cell = result.cells["control", "AP"]
    assert cell.mean > 40 and cell.published is None and cell.difference is None


def test_files_for_machines_carry_both(sim, tmp_path):
    report, measures = report_of(sim, tmp_path), sim.tables["sim/3"].measures
    write_metrics(report, tmp_path / "metrics.csv")
    frame = pandas.read_csv(tmp_path / "metrics.csv")
    lines = frame[(frame["metric"] == "pseudo_IoU") & (frame["row"] == "control")]
    assert len(lines) == len(SEEDS) and lines["published"].isna().all()
    (tree,) = make_diff(report)["tables"]
    assert tree["metrics"] == ["AP", *measures] and tree["measures"] == list(measures)
    assert [row["label"] for row in tree["rows"] if row["ours"]] == ["control"]
    assert all(list(row["cells"]) == tree["metrics"] for row in tree["rows"])
    assert {claim["id"]: claim["metric"] for claim in tree["claims"]}["masks"] == "pseudo_IoU"


def test_measured_without_training_is_no_run_of_the_table(sim, tmp_path):
    reference = {"scale": "tiny", "claims": [
        {"table": "sim/3", "id": c.claim.id, "verdict": c.verdict, "detail": ""}
        for c in report_of(sim, tmp_path).tables[0].claims
    ]}  # fmt: skip
    write_measures(sim, tmp_path / "b")
    only = make_diff(report_of(sim, tmp_path / "b"))
    assert {c["id"]: c["verdict"] for c in only["tables"][0]["claims"]}["masks"] == "reproduced"
    assert compare(only, reference) == ([], [])
    write_runs(sim, tmp_path / "c")
    lost, noted = compare(make_diff(report_of(sim, tmp_path / "c")), reference)
    assert not lost and len(noted) == 2 and all("masks" in line or "maps" in line for line in noted)


@pytest.mark.parametrize(
    ("data", "compared"),
    [
        ({"dataset": "voc"}, False), ({"train": "other"}, False), ({"eval": "x"}, False),
        ({"shapes": {"size": 64}}, False),
        ({"augment": "none"}, True), ({"short_side": [96]}, True), ({"supervision": "boxes"}, True),
    ],
)  # fmt: skip
def test_cells_of_different_images_are_not_compared(tmp_path, data, compared):
    """Another look at the same images is."""
    plan = pseudo_plan(**data)
    write_runs(plan, tmp_path)
    write_measures(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["weak-best"].verdict == ("reproduced" if compared else "not run")
    if not compared:
        assert "'weak' and 'baseline' are measured on different images" in judged["weak-best"].detail
    assert judged["masks"].verdict == "reproduced"  # both on the same


@pytest.fixture(scope="module")
def tiny():
    return make_plan("tiny")


def costs(plan: Plan, results: Path, table: str, label: str, values: dict | None):
    """Cells of a table of costs, with those of one row counted."""
    if values is not None:
        place = sets()["complexity"].place(rows_asked(plan, table, label)[0], "params")
        write(path_of(results / "tiny", "complexity", place.key),
              {"code": "now", "values": {place.case: values}})  # fmt: skip
    return next(r.cells for r in build_report(plan, results).tables if r.table.key == table)


def test_costs_stand_under_the_first_seed_and_agree_where_the_paper_cut_them_off(tiny, tmp_path):
    values = {"GFLOPs": 158.681, "params": 0.88745, "GFLOPs_stride4": 9.6}
    cells, seed = costs(tiny, tmp_path, "baiseg/4", "2", values), tiny.seeds_of("baiseg")[0]
    assert cells["2", "GFLOPs"].values == {seed: 158.681} and cells["2", "GFLOPs"].std is None
    for metric in ("GFLOPs", "params"):  # 158.6 and 0.88 as printed
        low, high = cells["2", metric].interval
        assert low <= cells["2", metric].mean < high
    assert cells["2", "GFLOPs_stride4"].values == {seed: 9.6} and not cells["2", "GFLOPs"].stale
    assert cells["1", "GFLOPs"].reason == "not run: wsis measure complexity baiseg/4 --scale tiny"


def test_costs_of_a_row_that_cannot_be_trained_are_counted_all_the_same(tiny, tmp_path, monkeypatch):
    label = tiny.tables["baiseg/6"].rows[0].label
    monkeypatch.delitem(tiny._cells, ("baiseg/6", label))
    cells = costs(tiny, tmp_path, "baiseg/6", label, {"GFLOPs": 1.0, "params": math.pi})
    assert cells[label, "params"].mean == math.pi and not cells[label, "AP50"].values


@pytest.mark.parametrize(("value", "digits"), [(158.6, 1), (0.88, 2), (73.3, 1)])
def test_cut_off_numbers_lie_above_what_is_printed(value, digits):
    low, high = published_interval(value, digits, truncated=True)
    assert low == value and high == pytest.approx(value + 10**-digits)
    rounded = published_interval(value, digits)
    assert sum(rounded) / 2 == pytest.approx(value) and high - low == pytest.approx(rounded[1] - rounded[0])
