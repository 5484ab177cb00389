"""What tables want measured, what of it is to be done, and by how many processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.measures.measured_plans import PLANS, change, write_measures, write_runs
from wsis.data.places import shapes_root
from wsis.errors import WsisError
from wsis.flow.work import Work, read_work, write_work
from wsis.measures.measure import Place
from wsis.measures.registry import sets
from wsis.measures.wanted import Measuring, chosen, first_key, rows_asked, todo, wanted
from wsis.plan import Plan, make_plan


@pytest.fixture(scope="module")
def tiny() -> Plan:
    return make_plan("tiny")


@pytest.fixture(params=PLANS)
def kind(request) -> str:
    return request.param


def left(plan: Plan, results: Path) -> list[Measuring]:
    """What is to be done of a plan whose runs are all trained; no figure is drawn from it."""
    return todo(plan, plan.tables, results / "tiny", {*plan.runs})


def test_a_key_has_a_case_for_each_quality_of_its_rows(tiny):
    keys = wanted(tiny, tiny.tables)
    for name, its_set in sets().items():
        for key, cases in keys[name].items():
            for case, asked in cases.items():
                assert {its_set.place(asked, m.name) for m in its_set.measures} >= {Place(key, case)}
            if its_set.needs == "run":
                assert key in tiny.runs
                assert {asked.run.seed for asked in cases.values()} == {tiny.runs[key].seed}
    assert len(keys["colour-affinity"]) == 1 and {*keys["complexity"]} <= {
        asked.published.id for cases in keys["complexity"].values() for asked in cases.values()
    }


def test_only_what_tables_show_is_wanted(tiny):
    assert wanted(tiny, ["boxinst/1b"]) == {}
    assert {*wanted(tiny, ["sim/3"])} == {"pseudo"} and {*wanted(tiny, ["boxinst/1a"])} == {"colour-affinity"}
    one, all_ = wanted(tiny, ["baiseg/4"])["complexity"], wanted(tiny, tiny.tables)["complexity"]
    assert 0 < len(one) < len(all_) and len(one) == len(tiny.tables["baiseg/4"].rows)
    quoted = next(row.label for row in tiny.tables["baiseg/1"].rows if row.kind == "quote")
    assert rows_asked(tiny, "baiseg/1", quoted) == []


def test_one_process_measures_what_is_of_one_root_and_seed(tiny, tmp_path):
    jobs = todo(tiny, ["boxinst/1a", "boxcaseg/7", "baiseg/3", "baiseg/4"], tmp_path, set())
    assert len({job.id for job in jobs}) == len(jobs)
    for job in jobs:
        of_runs = sets()[job.set].needs == "run"
        assert job.needs == (job.keys if of_runs else ())
        if of_runs:
            assert len({(shapes_root(tiny.runs[key].recipe), tiny.runs[key].seed) for key in job.keys}) == 1
    counts = {name: sum(job.set == name for job in jobs) for name in sets()}
    seeds = len(tiny.seeds_of("boxcaseg"))
    assert counts == {
        "pseudo": 0, "proxy": seeds, "boundary": len(tiny.seeds_of("baiseg")), "complexity": 1,
        "colour-affinity": 1,
    }  # fmt: skip
    assert next(job for job in jobs if job.set == "complexity").source is None
    assert {job.set: job.rank for job in jobs}["boundary"] == 2


def test_what_is_there_and_whole_is_not_measured_again(kind, tmp_path):
    plan = PLANS[kind]()
    write_runs(plan, tmp_path)
    assert {job.set for job in left(plan, tmp_path)} == {kind}
    write_measures(plan, tmp_path)
    assert left(plan, tmp_path) == []
    assert todo(plan, plan.tables, tmp_path / "tiny", None) != []  # asked for anew
    paths = change(plan, tmp_path, kind, lambda content: None)
    first = paths[0].read_text()
    newer = json.loads(first)
    for lacking in (
        lambda values: {case: dict(list(each.items())[1:]) for case, each in values.items()},  # a measure
        lambda values: dict(list(values.items())[1:]),  # a row
    ):
        paths[0].write_text(json.dumps(newer | {"values": lacking(newer["values"])}))
        assert [job.keys for job in left(plan, tmp_path)] == [(paths[0].stem,)]
    paths[0].write_text(first)
    train = tmp_path / "tiny/runs" / paths[0].stem / "train.json"
    os.utime(paths[0], (0, 0))  # its run was trained since
    assert [job.keys for job in left(plan, tmp_path)] == [(paths[0].stem,)]
    paths[0].write_text(first)
    others = {*plan.runs} - {train.parent.name}  # its run will be trained again
    assert [job.keys for job in todo(plan, plan.tables, tmp_path / "tiny", others)] == [(paths[0].stem,)]


def test_jobs_of_the_workflow_keep_them(tiny, tmp_path):
    jobs = tuple(todo(tiny, ["boxinst/1a", "boxcaseg/7"], tmp_path, set()))
    kept = Work(("boxinst/1a",), (), (), jobs)
    write_work(kept, tmp_path)
    assert read_work(tmp_path) == kept


def test_words_choose_sets_tables_and_keys(tiny):
    everything = wanted(tiny, tiny.tables)
    key = next(iter(everything["boundary"]))
    assert {name: {*keys} for name, keys in chosen(tiny, []).items()} == {
        name: {*keys} for name, keys in everything.items()
    }
    assert {*chosen(tiny, ["baiseg/3"])} == {"boundary", "complexity"}
    assert {*chosen(tiny, ["baiseg/3", "boundary"])} == {"boundary"}
    assert {name: {*keys} for name, keys in chosen(tiny, [key]).items()} == {"boundary": {key}}
    shared = next(iter(chosen(tiny, ["sim/4"])["pseudo"]))
    assert {*chosen(tiny, ["sim/4"])["pseudo"][shared]} == {*everything["pseudo"][shared]}  # a pass does all
    with pytest.raises(
        WsisError, match=r"pseudi: neither a table nor what any set measures at tiny .*: pseudo"
    ):
        chosen(tiny, ["pseudi"])


def test_a_figure_shows_the_first_key_of_its_set(tiny):
    (key,) = wanted(tiny, tiny.tables)["colour-affinity"]
    assert first_key(tiny, "colour-affinity") == key and first_key(tiny, "nothing") is None
    assert [job.set for job in todo(tiny, [], Path("nowhere"), set())] == ["colour-affinity"]
