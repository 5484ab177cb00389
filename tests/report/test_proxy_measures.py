"""Measures of proxy masks in BoxCaseg's tables: their files, what is missing, and what they judge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.report.results_folder import SEEDS, add_run, table, write
from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Cost, Scale
from wsis.declare.table import PROXY_MEASURES, PSEUDO_MEASURES
from wsis.errors import WsisError
from wsis.measures.words import ProxyMasks, measures_note, readable
from wsis.methods.boxcaseg.proxy_setting import setting
from wsis.plan import Plan
from wsis.report import results as report_results
from wsis.report.build import build_report
from wsis.report.model import Report
from wsis.report.view import table_view

DATA = {"root_name": "shapes-0", "fingerprint": "0f"}
RULES = {
    "raw": {"merge": False, "drop": None, "agreement": "exact"},
    "merge": {"drop": None, "agreement": "exact"},
    "merge, drop": {"drop": 0.9, "agreement": "exact"},
    "merge, drop as released": {"drop": 0.9, "agreement": "plus_one"},
}
GAINS = {
    "none": 0.0,
    "box": 2.0,
    "mask": 1.5,
    "larger": -3.0,
    "random": -1.0,
}  # where the smaller is in front
LEVEL = {"none, 0": 0.0, "box, 0": 1.0, "box, 0.9": 2.0}
ROWS = [{"label": label, "values": [30.0, None], "train": {}} for label in RULES] + [
    {"label": "network alone", "ours": True, "train": {}},
    {"label": "true masks", "ours": True, "train": {}},
]
CLAIMS = [
    {"id": "merging", "kind": "greater", "row": "merge", "than": "raw", "metric": "proxy_mIoU"},
    {"id": "depth", "kind": "greater", "row": "merge", "metric": "merge_gain_front",
     "than": {"row": "merge", "metric": "merge_gain_behind"}},
    {"id": "bound", "kind": "greater", "row": "merge", "metric": "agreement_below",
     "than": {"row": "merge", "metric": "agreement_above"}},
]  # fmt: skip


def first(seed: int) -> Recipe:
    tree = {"method": "boxcaseg", "seed": seed, "boxcaseg": {"proxy": False}}
    return parse(Recipe, tree | {"data": {"supervision": "boxes+salient"}}, "recipe").settled()


def second(seed: int, rules: dict[str, Any] | None) -> Recipe:
    tree = {"method": "mask_rcnn", "seed": seed}
    tree["data"] = {"supervision": "proxy" if rules else "masks"}
    tree["proxy"] = {"parent": first(seed).id, **rules} if rules else None
    return parse(Recipe, tree, "recipe").settled()


@pytest.fixture
def plan(monkeypatch) -> Plan:
    monkeypatch.setattr(report_results, "code_hash", lambda method: "now")
    monkeypatch.setattr(report_results, "proxy_hash", lambda: "now")
    cost = Cost(device="a device", seconds_per_image={}, megabytes={}, source="s")
    scale = Scale(name="tiny", title="t", seeds=SEEDS, cost=cost, data="generated")
    declared = table("7", ["AP", "mIoU"], ROWS, CLAIMS)
    declared = declared.model_copy(update={"paper": "boxcaseg", "measures": PROXY_MEASURES})
    plan = Plan(scale, SEEDS, {declared.key: declared})
    for seed in SEEDS:
        for label, rules in RULES.items():
            add_run(plan, ("boxcaseg/7", label), first(seed), second(seed, rules))
        add_run(plan, ("boxcaseg/7", "network alone"), first(seed))
        add_run(plan, ("boxcaseg/7", "true masks"), second(seed, None))
    return plan


def scores(name: str, seed: int) -> dict[str, Any]:
    """Invented: steps of 1 between settings, of 3 between seeds; +1 keeps nothing above 0.9."""
    base = 3.0 * seed + LEVEL[name] + 0.01 * (seed * len(name) % 3)
    biased = {"drop_rate": 1.0, "mIoU": None, "IoU75": None} if name.endswith("0.9") else None
    exact = {"drop_rate": 0.2, "mIoU": 60 + base, "IoU75": 40 + base}
    return {
        "merged": {"mIoU": 50 + base},
        "kept": {"exact": exact, "plus_one": biased or exact},
        "ranking": {"agreement": {"auc": 70 + base}, "certainty": {"auc": None}},
        "lower_bound": 10.0 + seed / 10,
    }


def fronts(seed: int) -> dict[str, Any]:
    """Invented: no image where the larger box is in front for the last seed."""
    groups = {
        "smaller": {order: 70 + seed + gain for order, gain in GAINS.items()},
        "larger": {order: None if seed == SEEDS[-1] else 60 - gain / 2 for order, gain in GAINS.items()},
    }
    return {name: {"merge": {o: {"mIoU": v} for o, v in group.items()}} for name, group in groups.items()}


def make_results(plan: Plan, results: Path) -> None:
    for run in plan.runs.values():
        folder = results / "tiny/runs" / run.id
        agnostic = run.recipe.method == "boxcaseg"
        metrics = {"mIoU": 55.0} if agnostic else {"AP": 30.0}
        protocol = "class-agnostic" if agnostic else "coco"
        write(folder / "metrics.json", {"recipe": run.id, "protocol": protocol, "metrics": metrics})
        train = {"recipe": run.id, "seconds": 1.0, "code": "now", "weights": "w", "deviations": []}
        write(folder / "train.json", train | {"data": DATA})
        if agnostic:
            made = {"recipe": run.id, "code": "now", "weights": "w", "data": DATA}
            made |= {"merge": {"none": {"mIoU": 50 + 3.0 * run.seed}}, "front": fronts(run.seed)}
            made |= {"settings": {name: scores(name, run.seed) for name in LEVEL}}
            write(results / f"tiny/proxy/{run.id}.json", made)


def report_of(plan: Plan, results: Path) -> Report:
    return build_report(plan, results, figures={}, errata={})


def cells_of(plan: Plan, results: Path) -> dict:
    return report_of(plan, results).tables[0].cells


def test_a_rows_value_is_that_of_its_own_rules(plan, tmp_path):
    make_results(plan, tmp_path)
    cells = cells_of(plan, tmp_path)
    for label in RULES:
        spec = plan.runs[plan.row_runs("boxcaseg/7", label)[SEEDS[0]]].recipe.proxy
        found = {seed: scores(setting(spec), seed) for seed in SEEDS}
        expected = {
            "proxy_mIoU_raw": {seed: 50 + 3.0 * seed for seed in SEEDS},
            "proxy_mIoU": {seed: found[seed]["merged"]["mIoU"] for seed in SEEDS},
            "kept_mIoU_exact": {seed: found[seed]["kept"]["exact"]["mIoU"] for seed in SEEDS},
            "kept_IoU75_exact": {seed: found[seed]["kept"]["exact"]["IoU75"] for seed in SEEDS},
            "proxy_drop_exact": dict.fromkeys(SEEDS, 20.0),
            "agreement_AUC": {seed: found[seed]["ranking"]["agreement"]["auc"] for seed in SEEDS},
            "agreement_below": {seed: 10 + seed / 10 for seed in SEEDS},
            "agreement_above": {seed: 90 - seed / 10 for seed in SEEDS},
        }
        for measure, values in expected.items():
            assert cells[label, measure].values == pytest.approx(values), (label, measure)
            assert cells[label, measure].runs == plan.row_runs("boxcaseg/7", label)
    exact, released = (cells[label, "proxy_drop"] for label in ("merge, drop", "merge, drop as released"))
    assert set(exact.values.values()) == {20.0} and set(released.values.values()) == {100.0}
    assert not cells["merge, drop as released", "kept_mIoU"].values
    assert "kept masks: mIoU is undefined" in cells["merge, drop as released", "kept_mIoU"].reason


def test_the_gain_of_merging_is_that_of_the_rows_own_order(plan, tmp_path):
    make_results(plan, tmp_path)
    cells = cells_of(plan, tmp_path)
    for label, gain in {"raw": 0.0, "merge": 2.0, "merge, drop": 2.0}.items():
        assert cells[label, "merge_gain_front"].values == pytest.approx(dict.fromkeys(SEEDS, gain))
        some = dict.fromkeys(SEEDS[:-1], -gain / 2)  # undefined for the last seed
        assert cells[label, "merge_gain_behind"].values == pytest.approx(some)
    assert cells["true masks", "merge_gain_front"].reason == "no proxy masks"
    spec = plan.runs[plan.row_runs("boxcaseg/7", "merge")[SEEDS[0]]].recipe.proxy
    for order, gain in GAINS.items():
        rules = {"merge": False} if order == "none" else {"order": order}
        other = spec.model_copy(update=rules)
        path = tmp_path / f"tiny/proxy/{spec.parent}.json"
        content = json.loads(path.read_text())
        content["settings"] = {setting(other): scores("box, 0", SEEDS[0])}
        write(path, content)
        files = ProxyMasks(tmp_path / "tiny/proxy")
        assert files.value(other, "merge_gain_front") == pytest.approx(gain)


def test_where_it_is_unknown_what_is_in_front_the_gain_is_undefined(plan, tmp_path):
    make_results(plan, tmp_path)
    for path in (tmp_path / "tiny/proxy").iterdir():
        write(path, json.loads(path.read_text()) | {"front": None})
    result = report_of(plan, tmp_path).tables[0]
    for metric in ("merge_gain_front", "merge_gain_behind"):
        cell = result.cells["merge", metric]
        assert not cell.values and cell.reason == f"{readable(metric)} is undefined on this data"
    assert result.cells["merge", "proxy_mIoU"].n == len(SEEDS)
    assert {claim.claim.id: claim.verdict for claim in result.claims}["depth"] not in (
        "reproduced",
        "contradicted",
    )


def test_a_file_from_before_the_gains_is_to_be_measured_again(plan, tmp_path):
    make_results(plan, tmp_path)
    for path in (tmp_path / "tiny/proxy").iterdir():
        content = json.loads(path.read_text())
        del content["front"]
        write(path, content)
    cells = cells_of(plan, tmp_path)
    again = f"to measure again: wsis proxy-quality {first(SEEDS[0]).id} --scale tiny"
    for metric in ("merge_gain_front", "merge_gain_behind"):
        assert not cells["merge", metric].values and cells["merge", metric].reason.endswith(again)
    assert cells["merge", "proxy_mIoU"].n == len(SEEDS)


@pytest.mark.parametrize("front", [3, {}, {"smaller": {"merge": {"none": {"mIoU": 1.0}}}}])
def test_groups_of_another_form_are_named(plan, tmp_path, front):
    make_results(plan, tmp_path)
    parent = first(SEEDS[0]).id
    path = tmp_path / f"tiny/proxy/{parent}.json"
    write(path, json.loads(path.read_text()) | {"front": front})
    with pytest.raises(WsisError, match=f"{parent}.*merge_gain_(front|behind)"):
        report_of(plan, tmp_path)


def test_what_is_not_there_has_a_reason(plan, tmp_path):
    make_results(plan, tmp_path)
    result = report_of(plan, tmp_path).tables[0]
    for label in ("network alone", "true masks"):
        assert result.cells[label, "proxy_mIoU"].reason == "no proxy masks"
    assert result.cells["network alone", "AP"].reason == "no Mask R-CNN is trained in this row"
    assert result.cells["network alone", "mIoU"].n == len(SEEDS)
    shown = {row.label: row for row in table_view(result, "tiny").rows}
    columns = [*result.table.metrics]
    for label, metric in (
        ("network alone", "AP"),
        ("network alone", "kept_mIoU"),
        ("true masks", "proxy_mIoU"),
    ):
        assert shown[label].cells[columns.index(metric)].kind == "empty"
    for path in (tmp_path / "tiny/proxy").iterdir():
        content = json.loads(path.read_text())
        del content["settings"]["box, 0.9"]  # measured before this row was declared
        write(path, content)
    cells = cells_of(plan, tmp_path)
    assert cells["merge, drop", "kept_mIoU"].reason.startswith("not run: snakemake boxcaseg_7 ")
    assert cells["merge", "proxy_mIoU"].n == len(SEEDS)


def test_measured_on_other_data_is_not_shown(plan, tmp_path):
    make_results(plan, tmp_path)
    for path in (tmp_path / "tiny/proxy").iterdir():
        content = json.loads(path.read_text())
        write(path, content | {"data": {"root_name": "shapes-1", "fingerprint": "1f"}})
    cell = cells_of(plan, tmp_path)["merge", "proxy_mIoU"]
    parent = first(SEEDS[0]).id
    assert not cell.values and "measured on shapes-1 (1f), the network was trained on shapes-0" in cell.reason
    assert cell.reason.endswith(f"to measure again: wsis proxy-quality {parent} --scale tiny")


@pytest.mark.parametrize("change", [{"code": "before"}, {"code": None}, {"weights": "of before"}])
def test_a_measure_of_other_code_or_of_other_weights_is_stale(plan, tmp_path, change):
    make_results(plan, tmp_path)
    assert not cells_of(plan, tmp_path)["merge", "proxy_mIoU"].stale
    path = tmp_path / f"tiny/proxy/{first(SEEDS[0]).id}.json"
    write(path, json.loads(path.read_text()) | change)
    cells = cells_of(plan, tmp_path)
    assert cells["merge", "proxy_mIoU"].stale and cells["merge", "proxy_mIoU"].n == len(SEEDS)
    assert not cells["merge", "AP"].stale


@pytest.mark.parametrize("content", [{"settings": 3}, {"merge": {}}, {"settings": {"box, 0": {}}}])
def test_a_file_of_another_form_is_named(plan, tmp_path, content):
    make_results(plan, tmp_path)
    parent = first(SEEDS[0]).id
    write(tmp_path / f"tiny/proxy/{parent}.json", content)
    with pytest.raises(WsisError, match=parent):
        report_of(plan, tmp_path)


def test_claims_over_proxy_masks(plan, tmp_path):
    make_results(plan, tmp_path)
    judged = {claim.claim.id: claim for claim in report_of(plan, tmp_path).tables[0].claims}
    assert judged["merging"].verdict == "reproduced" and judged["merging"].published is None
    assert judged["depth"].verdict == "reproduced"
    assert judged["bound"].verdict == "contradicted" and "agreement above the IoU" in judged["bound"].detail


def test_names_and_notes_are_words():
    names = [readable(measure) for measure in PROXY_MEASURES]
    assert len(set(names)) == len(names) and not any("_" in name for name in names)
    assert readable("kept_IoU75_plus_one") == "kept masks: IoU@75, +1 boxes"
    assert "SIM" in measures_note(PSEUDO_MEASURES[:1]) and "SIM" not in measures_note(["proxy_mIoU"])
    assert "Mask R-CNN" in measures_note(["proxy_mIoU"]) and measures_note([]) == ""
