"""Jobs of the command line: which generated roots are drawn, and what a time limit leaves of the others."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time

import pytest

from wsis import cli
from wsis.card import ABOUT, about_model
from wsis.checksums import sealed
from wsis.data.places import run_root, shapes_root
from wsis.data.roots import open_root, told_of
from wsis.errors import WsisError
from wsis.evaluation import run as evaluation
from wsis.flow import jobs
from wsis.flow.jobs import evaluate_runs, make_data, measure
from wsis.measures.measure import Measured
from wsis.measures.registry import sets
from wsis.plan import make_plan
from wsis.records import write_record
from wsis.signals import LIMIT, Interrupted

SMALL = {f"data.shapes.{kind}_images": 2 for kind in ("train", "val")}


def test_all_roots_of_a_seed_or_only_one(tmp_path):
    plan = make_plan("tiny", (0,), SMALL)
    roots = {shapes_root(run.recipe) for run in plan.runs.values()}
    assert len(roots) == 6  # plain, hard, texture, and plain with near, mixed and far salient images
    for root in roots:
        assert make_data(plan, tmp_path / root, root) == [tmp_path / root / "tiny/data" / root]
        assert [path.name for path in (tmp_path / root / "tiny/data").iterdir()] == [root]
    assert {path.name for path in make_data(plan, tmp_path / "all")} == roots


def test_a_root_that_no_run_reads_is_refused(tmp_path):
    plan = make_plan("tiny", (0,), SMALL)
    with pytest.raises(WsisError, match=r"a root shapes-0 .*there are: shapes-\w+, .*shapes-\w+\)"):
        make_data(plan, tmp_path, "shapes-0")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def predicted(tmp_path):
    """A plan, results in which the runs of one root have predicted nothing, and these runs."""
    plan = make_plan("tiny", (0,), SMALL)
    root = shapes_root(next(iter(plan.runs.values())).recipe)
    runs = [id for id in plan.runs if shapes_root(plan.runs[id].recipe) == root and plan.predicts(id)][:3]
    make_data(plan, tmp_path, root)
    for id in runs:
        folder, recipe = tmp_path / "tiny" / "runs" / id, plan.runs[id].recipe
        opened = open_root(recipe, run_root(recipe, tmp_path, "tiny", None))
        write_record(folder / "recipe.json", {"id": id, "recipe": recipe.model_dump(mode="json")})
        write_record(folder / ABOUT, about_model(recipe, opened, plan.runs[id].rows, plan.protocols(id)))
        with sealed(folder / "predictions.json") as file:
            file.write(b"[]")
        told = {"seconds": 1.0, "iterations": 4, "devices": 1, "device_name": "a CPU", "deviations": []}
        write_record(folder / "train.json", {"recipe": id, "data": told_of(opened), **told})
    return plan, tmp_path, runs


def test_a_time_limit_costs_no_evaluation_that_is_finished(predicted, monkeypatch, remembers):
    plan, results, runs = predicted
    evaluated, evaluate = [], evaluation.evaluate_run

    def noted(folder, *arguments):
        evaluated.append(folder.name)
        if len(evaluated) == 2:
            os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(folder, *arguments)

    monkeypatch.setattr(evaluation, "evaluate_run", noted)
    began = results / "tiny" / "jobs.json"
    began.touch()
    with pytest.raises(Interrupted, match="stopped after evaluating 1 of 3 runs") as error:
        evaluate_runs(plan, runs, results, None, began)
    assert error.value.status == LIMIT
    evaluate_runs(plan, runs, results, None, began)
    assert evaluated == [runs[0], runs[1], runs[1], runs[2]]
    assert all((results / "tiny" / "runs" / run / "metrics.json").exists() for run in runs)
    os.utime(began, (time.time() + 9,) * 2)  # a later workflow wants all of them
    evaluate_runs(plan, runs, results, None, began)
    evaluate_runs(plan, runs, results, None)
    assert evaluated[4:] == [*runs, *runs]


def test_of_trainings_that_were_done_again_metrics_are_old(predicted):
    plan, results, runs = predicted
    began = results / "tiny" / "jobs.json"
    began.touch()
    evaluate_runs(plan, runs, results, None, began)
    old, *others = [results / "tiny" / "runs" / run for run in runs]
    os.utime(old / "train.json", (time.time() + 9,) * 2)
    times = {folder: (folder / "metrics.json").stat().st_mtime_ns for folder in (old, *others)}
    evaluate_runs(plan, runs, results, None, began)
    assert [folder for folder in times if (folder / "metrics.json").stat().st_mtime_ns > times[folder]] == [
        old
    ]


def command(*words):
    sys.argv = ["wsis", *words]
    cli.main()


def test_a_time_limit_costs_no_measurement_that_is_finished(tmp_path, monkeypatch):
    """A real process, whose scheduler tells it in the middle of its second subject."""
    plan = make_plan("tiny")
    name = next(name for name, each in sets().items() if each.needs == "recipe")
    measures = {each.name: 1.0 for each in sets()[name].measures}
    seen, mine = tmp_path / "seen", os.getpid()

    def compute(subject):
        with seen.open("a") as file:
            file.write(subject.key + "\n")
        if os.getpid() != mine and len(seen.read_text().split()) == 2:
            time.sleep(60)
        return Measured(dict.fromkeys(subject.cases, measures))

    monkeypatch.setattr(jobs, "resolve_name", lambda target: compute)
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    began = tmp_path / "jobs.json"
    began.touch()
    words = ["measure", name, "--scale", "tiny", "--results", str(tmp_path), "--since", str(began)]
    process = multiprocessing.get_context("fork").Process(target=command, args=words)
    process.start()
    end = time.monotonic() + 60
    while not (seen.exists() and len(seen.read_text().split()) == 2):
        assert process.is_alive() and time.monotonic() < end
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGUSR1)
    process.join(30)
    assert process.exitcode == LIMIT
    first, second = seen.read_text().split()
    seen.unlink()
    paths = measure(plan, [name], tmp_path, None, since=began)
    done = seen.read_text().split()
    assert first not in done and second in done and len(done) == len(paths) - 1 > 1
    assert all(json.loads(path.read_text())["values"] for path in paths)
