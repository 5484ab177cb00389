"""Jobs of a target: its runs and their ancestors, parents first, the first table's apart."""

from __future__ import annotations

import pytest

from wsis.data.places import shapes_root
from wsis.packing import pack
from wsis.plan import make_plan


@pytest.fixture(scope="module", params=["smoke", "tiny", "mini"])
def plan(request):
    return make_plan(request.param)


def targets(plan):
    papers = {table.paper: [] for table in plan.tables.values()}
    for key, table in plan.tables.items():
        papers[table.paper].append(key)
    headline = [key for key, table in plan.tables.items() if table.headline]
    return [*([key] for key in plan.tables), *papers.values(), headline]


def test_jobs_hold_what_the_tables_show_and_what_that_needs_once(plan):
    for tables in targets(plan):
        jobs = pack(plan, tables, cores=2)
        listed = [run for job in jobs for run in job.runs]
        assert sorted(listed) == sorted(plan.with_needed(plan.wanted(tables)))
        assert all(len(job.runs) <= plan.scale.runs_per_job for job in jobs)
        assert len({job.id for job in jobs}) == len(jobs)
        for job in jobs:
            assert {shapes_root(plan.runs[run].recipe) for run in job.runs} == {job.data}


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_what_a_run_needs_stands_before_it(plan, cores):
    for tables in targets(plan):
        done = set()
        for job in pack(plan, tables, cores=cores):
            assert {*job.needs} <= done
            for run in job.runs:
                assert {*plan.runs[run].needs} <= done
                done.add(run)


def test_finished_runs_stand_in_no_job_and_others_do_not_wait_for_them(plan):
    tables = ["boxinst/1a", "boxinst/3"]
    first = {run for job in pack(plan, ["boxinst/1a"]) for run in job.runs}
    left = pack(plan, tables, finished=first)
    listed = [run for job in left for run in job.runs]
    assert sorted(listed) == sorted({*plan.with_needed(plan.wanted(tables))} - first)


def test_rows_of_the_first_table_come_first_and_a_seed_s_family_stays_together():
    plan = make_plan("tiny")
    tables = [key for key in plan.tables if key.startswith("boxinst/")]
    jobs = pack(plan, tables, cores=2)
    early = [job for job in jobs if {*job.runs} & {*plan.wanted(tables[:1])}]
    assert jobs[: len(early)] == early
    assert {run for job in early for run in job.runs} == {*plan.with_needed(plan.wanted(tables[:1]))}
    assert len(early) == len(plan.seeds_of("boxinst"))
    assert [job.rank for job in jobs] == sorted(job.rank for job in jobs)


def test_one_seed_gives_work_to_every_core():
    plan = make_plan("tiny", seeds=(3,))
    tables = ["boxinst/1a"]
    (whole,) = pack(plan, tables, cores=1)
    first, *others = pack(plan, tables, cores=2)
    assert [run for job in (first, *others) for run in job.runs] != []
    assert {run for job in (first, *others) for run in job.runs} == {*whole.runs}
    assert len(others) >= (2 if len(whole.runs) >= 6 else 0)
