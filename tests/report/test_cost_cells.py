"""Costs: one number a row, counted on the paper's network, whether or not the row can be trained here."""

import json
from pathlib import Path

import pytest

from wsis.errors import WsisError
from wsis.plan import make_plan
from wsis.report.build import build_report
from wsis.report.stats import published_interval


@pytest.fixture(scope="module")
def plan():
    return make_plan("tiny")


def cells(plan, results: Path, costs: dict | None):
    if costs is not None:
        (results / "tiny").mkdir(parents=True, exist_ok=True)
        (results / "tiny" / "complexity.json").write_text(json.dumps(costs))
    report = build_report(plan, results)
    return {result.table.key: result.cells for result in report.tables}


def test_costs_stand_under_the_first_seed_and_agree_where_the_paper_cut_them_off(plan, tmp_path):
    costs = {"baiseg/4": {"2": {"GFLOPs": 158.681, "params": 0.88745, "GFLOPs_stride4": 9.6}}}
    found = cells(plan, tmp_path, costs)["baiseg/4"]
    seed = plan.seeds_of("baiseg")[0]
    assert found["2", "GFLOPs"].values == {seed: 158.681} and found["2", "GFLOPs"].std is None
    assert found["2", "GFLOPs"].agrees and found["2", "params"].agrees  # 158.6 and 0.88 as printed
    assert found["2", "GFLOPs_stride4"].values == {seed: 9.6}
    assert found["1", "GFLOPs"].reason == "not run: wsis complexity --scale tiny"


def test_a_cell_that_is_not_counted_says_what_counts_it(plan, tmp_path):
    assert "wsis complexity" in cells(plan, tmp_path, None)["baiseg/6"]["HRNet-W48, dim 48", "params"].reason


def test_a_file_without_the_number_is_refused(plan, tmp_path):
    with pytest.raises(WsisError, match=r"complexity\.json: baiseg/4, 2: no GFLOPs"):
        cells(plan, tmp_path, {"baiseg/4": {"2": {"GFLOPs": "many"}}})
    older = cells(plan, tmp_path, {"baiseg/4": {"2": {"params": 1.0}}})["baiseg/4"]
    assert older["2", "GFLOPs"].reason.startswith("not run") and older["2", "params"].n == 1


@pytest.mark.parametrize(("value", "digits"), [(158.6, 1), (0.88, 2), (73.3, 1)])
def test_cut_off_numbers_lie_above_what_is_printed(value, digits):
    low, high = published_interval(value, digits, truncated=True)
    assert low == value and high == pytest.approx(value + 10**-digits)
    rounded = published_interval(value, digits)
    assert sum(rounded) / 2 == pytest.approx(value) and high - low == pytest.approx(rounded[1] - rounded[0])
