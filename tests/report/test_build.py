"""A report built from an invented results folder of which half is missing."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.report.results_folder import add_run, make_plan, make_results, measured, recipe, table, write
from wsis.checksums import sealed
from wsis.declare.table import Curve, Erratum, Figure
from wsis.files import digest
from wsis.report import results as report_results
from wsis.report.build import build_report
from wsis.report.markup import mark_command
from wsis.report.model import Report, TableResult

FIGURE = Figure(
    paper="boxinst", figure="4", title="t", caption="c", section="3", measure="colour-affinity",
    dataset="coco", split="val2017", thresholds=(0.0, 0.1), published=(),
)  # fmt: skip


@pytest.fixture
def plan():
    return make_plan()


@pytest.fixture
def report(plan, tmp_path, monkeypatch) -> Report:
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    monkeypatch.setattr(report_results, "hash_of", lambda modules: "now")
    make_results(plan, tmp_path)
    return report_of(plan, tmp_path)


def report_of(plan, results: Path, **kwargs) -> Report:
    return build_report(plan, results, **({"figures": {"boxinst/figure4": FIGURE}, "errata": {}} | kwargs))


def first(report: Report) -> TableResult:
    return report.tables[0]


def edit(plan, results: Path, label: str, name: str, **changes: Any) -> None:
    for run in plan.row_runs("boxinst/1a", label).values():
        path = results / plan.scale.name / "runs" / run / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_every_cell_exists_and_either_has_values_or_a_reason(report: Report) -> None:
    for result in report.tables:
        assert set(result.cells) == {(r, m) for r in result.table.labels for m in result.table.columns}
        assert all(bool(cell.values) != bool(cell.reason) for cell in result.cells.values())


def test_values_are_those_of_the_runs(plan, report: Report) -> None:
    for label in ("low", "middle"):
        cell = first(report).cells[label, "AP"]
        assert cell.values == {seed: measured(label, seed) for seed in plan.seeds}
        assert cell.runs == plan.row_runs("boxinst/1a", label)
        assert cell.n == len(plan.seeds)


def test_published_interval_takes_the_columns_decimals(report: Report) -> None:
    """30 in a column of tenths was printed 30.0."""
    assert first(report).cells["middle", "AP"].interval == (29.95, 30.05)
    assert first(report).cells["middle", "AP"].decimals == 1
    assert first(report).cells["others", "APL"].interval is None


def test_missing_runs_say_what_makes_them_and_what_is_left_to_pay(plan, report: Report) -> None:
    reason = first(report).cells["high", "AP"].reason
    assert reason.startswith("not run: snakemake boxinst_1a ") and "--config scale=tiny" in reason
    # low, middle and the shared warm-ups are done: what is left is `high`, an hour a seed
    assert f"(~{len(plan.seeds)}.0 h on a device)" in reason


def test_cost_counts_a_missing_parent_once(plan, tmp_path) -> None:
    reason = first(report_of(plan, tmp_path)).cells["high", "AP"].reason
    assert f"(~{4 * len(plan.seeds)}.0 h on a device)" in reason  # three rows and one warm-up a seed


def test_rows_without_runs_give_the_plans_reason(report: Report) -> None:
    assert first(report).cells["others", "AP"].reason == "quoted"
    assert first(report).cells["sim", "AP"].reason == "method sim does not exist yet"


def test_undefined_and_absent_metrics_are_not_zero(report: Report) -> None:
    cell = first(report).cells["low", "APL"]
    assert cell.mean is None and "undefined" in cell.reason
    assert "not measured" in first(report).cells["low", "AP70"].reason


def test_one_seed_of_several(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    run = plan.row_runs("boxinst/1a", "low")[plan.seeds[0]]
    (tmp_path / "tiny/runs" / run / "metrics.json").unlink()
    cell = first(report_of(plan, tmp_path)).cells["low", "AP"]
    assert list(cell.values) == list(plan.seeds[1:]) and cell.reason is None
    assert set(cell.runs) == set(plan.seeds)


def test_protocols_do_not_mix(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    edit(plan, tmp_path, "low", "metrics.json", protocol="voc")
    cell = first(report_of(plan, tmp_path)).cells["low", "AP"]
    assert not cell.values and "voc" in cell.reason and "coco" in cell.reason


@pytest.mark.parametrize(("supervision", "group"), [("masks-voc", "nonvoc"), ("masks-nonvoc", "voc")])
def test_unseen_classes_are_those_of_the_table(tmp_path, supervision: str, group: str) -> None:
    """A box-supervised run, to which no class is unseen, is measured on each table's own unseen classes."""
    plan = make_plan(seeds=(3,))
    rows = [{"label": label, "values": [30.0, 40.0], "train": {}} for label in ("semi", "boxes")]
    plan.tables["boxinst/6"] = table("6", ["AP_unseen", "AP50_unseen"], rows, [])
    add_run(plan, ("boxinst/6", "semi"), recipe({}, 3, 70, supervision=supervision))
    add_run(plan, ("boxinst/6", "boxes"), recipe({}, 3, 70))
    groups = {"voc": {"AP": 1.0, "AP50": 2.0}, "nonvoc": {"AP": 3.0, "AP50": None}}
    none = {"AP_unseen": None, "AP50_unseen": None}
    for run in [run for label in ("semi", "boxes") for run in plan.row_runs("boxinst/6", label).values()]:
        path = tmp_path / "tiny/runs" / run / "metrics.json"
        write(path, {"recipe": run, "protocol": "coco", "metrics": none, "groups": groups})
    cells = report_of(plan, tmp_path).tables[-1].cells
    for label in ("semi", "boxes"):
        assert cells[label, "AP_unseen"].mean == groups[group]["AP"]
        assert cells[label, "AP50_unseen"].mean == groups[group]["AP50"]
    assert bool(cells["semi", "AP50_unseen"].reason) == (group == "nonvoc")


def test_affinity_is_read_at_the_rows_own_threshold(plan, report: Report, tmp_path) -> None:
    found = {label: first(report).cells[label, "prop"].mean for label in ("low", "middle", "high")}
    assert found == {"low": 94.1, "middle": 98.3, "high": None}  # tau 0, 0.1 and one not measured
    command = "not run: wsis measure colour-affinity boxinst/1a --scale tiny"
    assert first(report).cells["high", "prop"].reason == command
    curves = report.figures[0].measured
    assert {curve.metric for curve in curves} == {"prop", "kept"} and len(curves) == 2
    assert curves[0].points == ((0.0, 94.1), (0.1, 98.3))
    assert all(isinstance(curve, Curve) for curve in curves)
    (tmp_path / "tiny/measures/colour-affinity/coco.json").unlink()
    without = report_of(plan, tmp_path)
    assert without.figures[0].reason.startswith("not run: ")
    assert first(without).cells["low", "prop"].reason.startswith("not run: ")


def test_stale_where_the_method_or_the_parents_code_changed(plan, report: Report, tmp_path) -> None:
    assert not any(cell.stale for result in report.tables for cell in result.cells.values())
    edit(plan, tmp_path, "low", "train.json", code="before")
    cells = first(report_of(plan, tmp_path)).cells
    assert cells["low", "AP"].stale and not cells["middle", "AP"].stale
    assert not cells["low", "prop"].stale  # measured on the data, not trained
    for run in plan.runs.values():
        if run.parent is None:
            path = tmp_path / "tiny/runs" / run.id / "train.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"code": "before"}))
    assert first(report_of(plan, tmp_path)).cells["middle", "AP"].stale


def test_stale_where_the_parent_was_trained_again(plan, report: Report, tmp_path) -> None:
    parent = {run.parent for run in plan.runs.values() if ("boxinst/1a", "low") in run.rows and run.parent}
    for run in parent:
        path = tmp_path / "tiny/runs" / run / "train.json"
        write(path, json.loads(path.read_text()) | {"weights": "new"})
    edit(plan, tmp_path, "low", "train.json", parent={"id": "a warm-up", "weights": "new"})
    edit(plan, tmp_path, "middle", "train.json", parent={"id": "a warm-up", "weights": "old"})
    cells = first(report_of(plan, tmp_path)).cells
    assert cells["middle", "AP"].stale and not cells["low", "AP"].stale
    for run in parent:  # as older files are: nothing to compare with
        path = tmp_path / "tiny/runs" / run / "train.json"
        write(path, {k: v for k, v in json.loads(path.read_text()).items() if k != "weights"})
    assert not first(report_of(plan, tmp_path)).cells["middle", "AP"].stale


def test_deviations_of_a_run_are_those_of_its_children_too(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    both, only = "1 device instead of 8", "precision 32 instead of 16"
    edit(plan, tmp_path, "low", "train.json", deviations=[both])
    for run in plan.runs.values():
        if run.parent is None:
            path = tmp_path / "tiny/runs" / run.id / "train.json"
            write(path, json.loads(path.read_text()) | {"deviations": [both, only]})
    deviations = first(report_of(plan, tmp_path)).deviations
    assert f"{both} (rows low)" in deviations
    assert f"the training it starts from: {only}" in deviations  # all rows fork from it
    assert f"the training it starts from: {both} (rows middle, high)" in deviations


def test_deviations_name_the_rows_they_concern(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    edit(plan, tmp_path, "low", "train.json", deviations=["1 device instead of 8"])
    deviations = first(report_of(plan, tmp_path)).deviations
    assert "1 device instead of 8 (rows low)" in deviations
    assert "published on test-dev2017, measured on val2017 (rows middle)" in deviations
    shared = [text for text in deviations if text.startswith("schedule.iterations: 90000 -> 100")]
    assert shared == ["schedule.iterations: 90000 -> 100"]
    assert len(deviations) == len(set(deviations))


def test_trend_needs_four_rows(plan, report: Report) -> None:
    trend = first(report).trend
    assert (trend.tau_b, trend.n, trend.metric) == (None, 2, "AP")
    assert (trend.best_published, trend.best_measured) == ("middle", "low")
    long = report.tables[1].trend
    assert long.n == 4
    # published 10 < 20 < 30 < 40; measured with one of the six pairs the other way round
    assert long.tau_b == pytest.approx((5 - 1) / 6)
    assert (long.best_published, long.best_measured) == ("r4", "r4")


def test_claims_are_judged_on_the_paired_cells(report: Report) -> None:
    verdicts = {c.claim.id: c.verdict for c in first(report).claims}
    assert verdicts == {"low-above-middle": "reproduced", "middle-above-low": "contradicted",
                        "high-is-best": "not run", "prop-rises": "reproduced"}  # fmt: skip


def test_empty_results_folder(plan, tmp_path) -> None:
    report = report_of(plan, tmp_path / "nothing")
    assert all(cell.reason and not cell.values for result in report.tables for cell in result.cells.values())
    assert all(result.trend is None for result in report.tables)
    assert {c.verdict for result in report.tables for c in result.claims} == {"not run"}
    assert report.runs == {} and report.provenance["runs"] == 0


def test_provenance_and_finished_runs(plan, report: Report) -> None:
    finished = [run for run in plan.runs if run in report.runs]
    assert 0 < len(finished) < len(plan.runs)
    provenance = report.provenance
    assert provenance["runs"] == len(finished) and provenance["planned"] == len(plan.runs)
    assert provenance["seconds"] == pytest.approx(2.5 * len(finished))
    assert provenance["seeds"] == list(plan.seeds)
    assert provenance["versions"]["torch"] == "2.7.1"
    assert provenance["commits"] == ["abc"] and provenance["hardware"] == ["a CPU, 2 cores"]


def test_errata_go_to_the_tables_they_are_about(plan, tmp_path) -> None:
    errata = {
        "boxinst": [
            Erratum(id=i, where="w", about=about, paper="p", other="o", source="paper", follows="f")
            for i, about in (("e1", ("boxinst/1a",)), ("e2", ("boxinst/2",)), ("e3", ()))
        ]
    }
    report = report_of(plan, tmp_path, errata=errata)
    assert [[e.id for e in result.errata] for result in report.tables] == [["e1"], ["e2"]]
    assert [e.id for e in report.errata["boxinst"]] == ["e1", "e2", "e3"]


METRICS = {"recipe": "id", "protocol": "coco", "metrics": {"AP": 20.0}}


@pytest.mark.parametrize("name", ["metrics.json", "train.json"])
@pytest.mark.parametrize(
    "content",
    [
        "", "{", "[]", "3", "null", "{}", json.dumps(METRICS | {"recipe": "boxinst-0123456789"}),
        json.dumps(METRICS | {"metrics": {"AP": 140.0}}), json.dumps(METRICS | {"metrics": {"AP": -1}}),
        json.dumps(METRICS | {"metrics": {"AP": "20"}}), json.dumps(METRICS | {"metrics": [20.0]}),
        json.dumps(METRICS | {"metrics": {"AP": math.nan}}),
        json.dumps(METRICS | {"metrics": {"AP": math.inf}}),
        json.dumps(METRICS | {"also": {"voc": {"protocol": "voc", "metrics": {"AP50": 1e30}}}}),
    ],
)  # fmt: skip
def test_a_damaged_run_is_left_out_and_named_and_the_others_are_shown(plan, tmp_path, name, content) -> None:
    make_results(plan, tmp_path)
    run = plan.row_runs("boxinst/1a", "low")[plan.seeds[0]]
    path = tmp_path / "tiny/runs" / run / name
    path.write_text(content.replace('"id"', f'"{run}"'))
    if name == "train.json" and content.startswith('{"recipe": "id"'):
        path.write_text(json.dumps({"recipe": run, "seconds": math.nan}))
    report = report_of(plan, tmp_path)
    assert [*report.refused] == [run] and str(path) in report.refused[run]
    result = report.tables[0]
    assert plan.seeds[0] not in result.cells["low", "AP"].values and result.cells["low", "AP"].n == 2
    assert result.cells["middle", "AP"].n == 3
    assert any(str(path) in text for text in result.deviations)


def test_metrics_of_other_predictions_are_left_out(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    run = plan.row_runs("boxinst/1a", "low")[plan.seeds[0]]
    folder = tmp_path / "tiny/runs" / run
    for content in (b"[]", b"[1]"):
        with sealed(folder / "predictions.json") as file:
            file.write(content)
        if content == b"[]":
            edit(plan, tmp_path, "low", "metrics.json", predictions=digest(folder / "predictions.json"))
            assert not report_of(plan, tmp_path).refused
    assert "of other predictions" in report_of(plan, tmp_path).refused[run]


def test_a_damaged_environment_is_left_out_alone(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    run = plan.row_runs("boxinst/1a", "low")[plan.seeds[0]]
    (tmp_path / "tiny/runs" / run / "environment.json").write_text("[1]")
    report = report_of(plan, tmp_path)
    assert [*report.refused] == [run] and report.tables[0].cells["low", "AP"].n == 3


def test_rows_trained_on_different_data_are_named(plan, tmp_path) -> None:
    make_results(plan, tmp_path)
    assert not any("different data" in text for text in first(report_of(plan, tmp_path)).deviations)
    edit(plan, tmp_path, "low", "train.json", data={"root_name": "other", "fingerprint": "ff"})
    found = [text for text in first(report_of(plan, tmp_path)).deviations if "different data" in text]
    assert len(found) == len(plan.seeds)
    assert "other (ff): low; shapes-0 (0f): middle" in found[0]


def test_a_run_of_other_settings_is_not_shown_but_told(plan, report: Report, tmp_path) -> None:
    runs = plan.row_runs("boxinst/1a", "low")
    text = "trained with predict.nms 0.55 (planned: 0.6)"
    for count, (seed, run) in enumerate(runs.items(), 1):
        tree = plan.runs[run].recipe.model_dump(mode="json")
        tree["predict"]["nms"] = 0.55
        write(tmp_path / "tiny" / "runs" / run / "recipe.json", {"recipe": tree})
        result = first(report_of(plan, tmp_path))
        cell = result.cells["low", "AP"]
        assert seed not in cell.values and cell.n == len(runs) - count
        assert any(text in deviation for deviation in result.deviations)
    assert cell.reason.startswith(f"{text}; not run: snakemake")
    assert str(mark_command(cell.reason)).startswith(f"{text}; not run: <code>snakemake")
    assert result.cells["middle", "AP"].values == first(report).cells["middle", "AP"].values


def test_what_starts_from_a_run_of_other_settings_is_stale(plan, report: Report, tmp_path) -> None:
    run = plan.runs[plan.row_runs("boxinst/1a", "low")[plan.seeds[0]]]
    tree = plan.runs[run.parent].recipe.model_dump(mode="json")
    tree["schedule"]["warmup"] = 7
    write(tmp_path / "tiny" / "runs" / run.parent / "recipe.json", {"recipe": tree})
    assert (
        not first(report).cells["low", "AP"].stale
        and first(report_of(plan, tmp_path)).cells["low", "AP"].stale
    )
