"""Lines of a running workflow, told from the files that it leaves."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from wsis.files import write_json
from wsis.flow.watch import Watch, shown_runs
from wsis.flow.work import work
from wsis.plan import make_plan

TABLES = ["boxinst/1a", "boxcaseg/7"]


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


@pytest.fixture
def watch(plan, tmp_path):
    return Watch(plan, work(plan, TABLES, tmp_path), tmp_path, seconds=100.0)


def write(results: Path, run: str, metrics: dict, protocol: str = "coco") -> None:
    folder = results / "smoke" / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.json").write_text("{}")
    content = {"protocol": protocol, "metrics": metrics}
    (folder / "metrics.json").write_text(json.dumps(content))


def test_every_run_of_the_report_is_shown_somewhere(plan):
    for tables in (TABLES, list(plan.tables)):
        assert {*shown_runs(plan, tuple(tables))} == {*plan.wanted(tables)}


def test_a_row_is_told_once_with_its_number_and_the_count(plan, watch, tmp_path):
    assert list(watch.news(1.0)) == []
    run = plan.row_runs("boxinst/1a", "tau = 0.1")[0]
    write(tmp_path, run, {"AP": 41.23})
    (line,) = watch.news(10.0)
    rows = len(plan.wanted(TABLES))
    assert re.fullmatch(rf"boxinst/1a  tau = 0\.1  seed 0  AP 41\.2   1 of {rows} rows, about .* left", line)
    assert list(watch.news(11.0)) == []


def test_a_first_stage_is_told_apart_from_its_row(plan, tmp_path):
    watch = Watch(plan, work(plan, list(plan.tables), tmp_path), tmp_path)
    stage = next(run for run, where in watch.shown.items() if where.row.endswith(", first stage"))
    write(tmp_path, stage, {"mIoU": 70.0}, "class-agnostic")
    (line,) = watch.news(1.0)
    assert ", first stage  seed 0  " in line


def test_a_table_is_told_when_its_mark_is_written_and_again_when_it_is_new(plan, watch, tmp_path):
    mark = tmp_path / "smoke" / "rendered" / "boxinst_1a"
    mark.parent.mkdir(parents=True)
    mark.touch()
    assert list(watch.news(1.0)) == ["boxinst/1a complete: reports/smoke/index.html"]
    old = Watch(plan, work(plan, TABLES, tmp_path), tmp_path, seconds=100.0)
    assert list(old.news(1.0)) == []


def test_a_complete_table_is_told_with_its_verdicts_and_all_so_far(plan, tmp_path):
    watch = Watch(plan, work(plan, TABLES, tmp_path), tmp_path, reports=tmp_path / "reports")
    mark = tmp_path / "smoke" / "rendered" / "boxinst_1a"
    mark.parent.mkdir(parents=True)
    mark.touch()
    verdicts = ["reproduced", "inconclusive", "reproduced", "not run"]
    tables = [{"paper": "boxinst", "table": "1a", "claims": [{"corrected": each} for each in verdicts]}]
    claims = {"reproduced": 3, "contradicted": 1, "inconclusive": 2, "untestable": 0, "not run": 9}
    write_json(tmp_path / "reports" / "smoke" / "diff.json", {"tables": tables, "claims": claims})
    assert list(watch.news(1.0)) == [
        "boxinst/1a complete: 2 claims reproduced, 1 inconclusive; so far 3 reproduced, 1 contradicted,"
        " 2 inconclusive: reports/smoke/index.html"
    ]
    for former in ({"tables": [{"paper": "boxinst", "table": "1a", "claims": [{}]}], "claims": claims}, []):
        write_json(tmp_path / "reports" / "smoke" / "diff.json", former)
        again = Watch(plan, work(plan, TABLES, tmp_path), tmp_path, reports=tmp_path / "reports")
        os.utime(mark, (time.time() + 60, time.time() + 60))
        assert list(again.news(1.0)) == ["boxinst/1a complete: reports/smoke/index.html"]


def test_the_time_left_shrinks_with_what_is_done_and_follows_the_machine(plan, watch, tmp_path):
    left = [watch.left(0.0)]
    assert left == [pytest.approx(100.0)]
    for run in list(watch.training)[:6]:
        write(tmp_path, run, {"AP": 1.0})
    list(watch.news(20.0))
    assert watch.left(20.0) < left[0]
    assert watch.left(60.0) > watch.left(20.0)
    for run in [*watch.training, *watch.rows]:
        write(tmp_path, run, {"AP": 1.0})
    list(watch.news(90.0))
    assert watch.left(90.0) == pytest.approx(0.0)


def test_a_machine_that_is_not_known_has_no_time_left(plan, tmp_path):
    watch = Watch(plan, work(plan, TABLES, tmp_path), tmp_path)
    assert watch.progress(5.0) == f"0 of {len(plan.wanted(TABLES))} rows"
