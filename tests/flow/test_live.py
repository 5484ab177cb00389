"""What the page says while something is trained: told from locks, logs and the workflow's start."""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager

import pytest

from tests.other_writer import other_writer
from wsis.files import write_json, write_text
from wsis.flow.live import live
from wsis.flow.work import JOBS, work, write_work
from wsis.plan import make_plan
from wsis.results.writer import LOCK

TABLES = ["boxinst/1a", "boxinst/3"]


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


@contextmanager
def trained_elsewhere(folder, step: int | None):
    """Another process holds the run; its log has `step` steps."""
    if step:
        write_text(folder / "log.jsonl", "".join(f"{json.dumps({'iteration': i})}\n" for i in range(step)))
    with other_writer(folder):
        yield


def test_it_says_what_runs_how_far_and_until_when(plan, tmp_path):
    folder, todo = tmp_path / "smoke", work(plan, TABLES, tmp_path)
    write_work(todo, folder)
    os.utime(folder / JOBS, (time.time() - 60,) * 2)
    assert live(plan, tmp_path) is None
    runs = [run for job in todo.trainings for run in job.runs]
    finished = [run for run in runs if run in plan.wanted(TABLES)][:3]
    for run in finished:
        write_json(folder / "runs" / run / "train.json", {})
        write_json(folder / "runs" / run / "metrics.json", {})
        write_text(folder / "runs" / run / LOCK, "process 1")  # stays when its writer is gone
    running = next(run for run in plan.row_runs("boxinst/3", "projection").values())
    assert running not in finished
    ends = plan.runs[running].recipe.schedule.end
    with trained_elsewhere(folder / "runs" / running, ends // 2):
        told = live(plan, tmp_path)
    (line,) = told.training
    assert line.endswith(f"seed 0: step {ends // 2} of {ends}") and "projection" in line
    assert told.rows == f"{len(finished)} of {len(plan.wanted(TABLES))}" and told.until
    assert live(plan, tmp_path) is None


def test_a_training_without_a_workflow_has_no_end(plan, tmp_path):
    runs = plan.with_needed(plan.wanted(TABLES))[:2]
    with ExitStack() as held:
        for run in runs:
            held.enter_context(trained_elsewhere(tmp_path / "smoke" / "runs" / run, None))
        told = live(plan, tmp_path)
    assert len(told.training) == len(runs) and all(": step 0 of " in line for line in told.training)
    assert (told.rows, told.until) == ("", "")
