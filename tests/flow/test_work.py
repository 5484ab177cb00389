"""What a target still needs of what lies in a results folder."""

from __future__ import annotations

import os
import shutil

import pytest

from wsis.checksums import seal
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.flow.work import named_tables, read_work, tables_of, targets, work, write_work
from wsis.plan import make_plan

TABLES = ["boxinst/1a", "boxinst/3"]


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


FILES = {
    "model.safetensors": {},
    "predictions.json": [],
    "proxies/0-of-1.jsonl.gz": {},
    "train.json": {},
    "metrics.json": {"protocol": "coco", "metrics": {"AP": 20.0}},
}


def finish(results, plan, runs, evaluated=True, at=1000):
    """Files of finished runs, whose times are `at` and later in the order of `runs`."""
    for time, run in enumerate(runs, at):
        folder = results / plan.scale.name / "runs" / run
        for name, content in FILES.items():
            if evaluated or name != "metrics.json":
                path = folder / name
                write_json(path, content if isinstance(content, list) else {"recipe": run, **content})
                seal(path)
                os.utime(path, (time, time))


def trained(todo):
    return [run for job in todo.trainings for run in job.runs]


def evaluated(todo):
    return [run for job in todo.evaluations for run in job.runs]


def test_tables_are_named_in_both_ways_and_by_targets(plan):
    assert named_tables(plan, ["boxinst_3", "boxinst/1a"]) == TABLES
    assert named_tables(plan, ["all"]) == list(plan.tables)
    assert {key.split("/")[0] for key in named_tables(plan, ["boxinst"])} == {"boxinst"}
    with pytest.raises(WsisError, match=r"no table or target 'boxinst3' .*nearest are: boxinst_3"):
        named_tables(plan, ["boxinst3"])


def test_nothing_is_left_of_finished_results(plan, tmp_path):
    runs = plan.with_needed(plan.wanted(list(plan.tables)))
    finish(tmp_path, plan, runs)
    for tables in targets(plan).values():
        todo = work(plan, tables, tmp_path)
        assert not todo.trainings and not todo.evaluations
    assert trained(work(plan, TABLES, tmp_path, anew=True))


def test_another_target_trains_what_is_new_only(plan, tmp_path):
    first = plan.with_needed(plan.wanted(TABLES[:1]))
    finish(tmp_path, plan, first)
    todo = work(plan, TABLES, tmp_path)
    assert sorted(trained(todo)) == sorted({*plan.with_needed(plan.wanted(TABLES))} - {*first})
    assert sorted(evaluated(todo)) == sorted({*plan.wanted(TABLES)} - {*first})


def test_trained_runs_without_metrics_are_evaluated_and_not_trained(plan, tmp_path):
    finish(tmp_path, plan, plan.with_needed(plan.wanted(TABLES)), evaluated=False)
    todo = work(plan, TABLES, tmp_path)
    assert not todo.trainings
    assert sorted(evaluated(todo)) == sorted(plan.wanted(TABLES))


def test_what_starts_from_a_run_that_was_trained_again_is_due(plan, tmp_path):
    runs = plan.with_needed(plan.wanted(TABLES))
    finish(tmp_path, plan, runs)
    parent = next(run for run in runs if any(run in plan.runs[other].needs for other in runs))
    finish(tmp_path, plan, [parent], at=5000)
    due = {run for run in runs if parent in plan.with_needed([run])} - {parent}
    assert due == {*trained(work(plan, TABLES, tmp_path))}


def test_a_target_is_its_tables_in_the_papers_order_and_a_file_may_need_all(plan):
    assert tables_of(plan, ["boxinst_3", "boxinst_1a"]) == TABLES
    assert tables_of(plan, ["figure4"]) == []
    assert tables_of(plan, ["results/smoke/metrics.csv"]) == list(plan.tables)
    assert tables_of(plan, ["sim_3", "boxinst"])[-1] == "sim/3"


def test_the_work_that_a_workflow_began_with_is_kept(plan, tmp_path):
    todo = work(plan, TABLES, tmp_path)
    with pytest.raises(WsisError, match=r"jobs\.json"):
        read_work(tmp_path / "smoke")
    write_work(todo, tmp_path / "smoke")
    assert read_work(tmp_path / "smoke") == todo


def test_a_run_of_other_settings_is_not_finished_nor_what_starts_from_it(plan, tmp_path, capsys):
    runs = plan.with_needed(plan.wanted(TABLES))
    finish(tmp_path, plan, runs)
    parent = next(run for run in runs if any(run in plan.runs[other].needs for other in runs))
    tree = plan.runs[parent].recipe.settled().model_dump(mode="json")
    stored = tmp_path / "smoke" / "runs" / parent / "recipe.json"
    write_json(stored, {"recipe": tree})
    assert not work(plan, TABLES, tmp_path).trainings
    tree["predict"]["nms"] = 0.55
    write_json(stored, {"recipe": tree})
    due = {run for run in runs if parent in plan.with_needed([run])}
    assert due == {*trained(work(plan, TABLES, tmp_path))}
    assert (
        capsys.readouterr().err == f"{parent}: trained with predict.nms 0.55 (planned: 0.6): not finished\n"
    )


def test_masks_that_nobody_learns_any_more_need_not_be_there(plan, tmp_path):
    """Results of another machine come without them; a row that is to learn them has them made again."""
    runs = plan.with_needed(plan.wanted(list(plan.tables)))
    finish(tmp_path, plan, runs)
    for folder in (tmp_path / "smoke" / "runs").glob("*/proxies"):
        shutil.rmtree(folder)
    assert not work(plan, list(plan.tables), tmp_path).trainings
    learner = next(run for run in runs if plan.runs[run].recipe.proxy)
    (tmp_path / "smoke" / "runs" / learner / "train.json").unlink()
    teacher = plan.runs[learner].recipe.proxy.parent
    due = {run for run in runs if teacher in plan.with_needed([run])}
    assert due == {*trained(work(plan, list(plan.tables), tmp_path))}
