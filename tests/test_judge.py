"""Roots are judged before training, as the runs read them; results are compared with the root they are of."""

from __future__ import annotations

import json

import pytest

from wsis.data.roots import open_root
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.flow.jobs import evaluate_runs
from wsis.judge import compare, groups, judge
from wsis.plan import make_plan

SMALL = {
    **{
        "model.weights": "none",
        "model.backbone": "tiny",
        "data.short_side": [64],
        "data.eval_short_side": 64,
    },
    **{"schedule.precision": "32", "schedule.batch": 2, "schedule.iterations": 2, "schedule.warmup": 1},
    "loss.pairwise.warmup": 1,
}


@pytest.fixture(scope="module")
def plan():
    return make_plan("mini", (21,), SMALL)


@pytest.fixture(scope="module")
def run(plan):
    """A run that learns from boxes alone."""
    return next(id for id, run in plan.runs.items() if run.recipe.data.supervision == "boxes" and run.rows)


@pytest.fixture
def masked(plan):
    """One that learns masks of COCO."""
    return next(
        id
        for id, run in plan.runs.items()
        if run.recipe.data.supervision == "masks" and run.recipe.data.dataset == "coco"
    )


def boxes_only(content):
    for annotation in content["annotations"]:
        for key in ("segmentation", "area", "iscrowd"):
            del annotation[key]


def folder_of(results, root, run, recipe, **data):
    """A run's folder as its training on `root` leaves it, evaluated."""
    opened, folder = open_root(recipe, root), results / "mini" / "runs" / run
    data = {"root_name": opened.name, "fingerprint": opened.fingerprint, "classes": opened.classes, **data}
    write_json(folder / "train.json", {"recipe": run, "data": data})
    write_json(folder / "metrics.json", {})
    return folder


def test_a_verdict_holds_until_files_change(plan, run, coco_root, tmp_path, capsys):
    results = tmp_path / "results"
    (file,) = judge(plan, [run], results, coco_root.root)
    assert file.parent == results / "mini" / "data" and "coco layout" in capsys.readouterr().out
    assert judge(plan, [run], results, f"coco={coco_root.root}") == [file] and not capsys.readouterr().out
    coco_root(lambda c: c["annotations"][0].update(area=81), "val2017")
    judge(plan, [run], results, coco_root.root)
    assert "coco layout" in capsys.readouterr().out


def test_supervision_decides(plan, run, masked, coco_root, tmp_path):
    root = coco_root(boxes_only)
    judge(plan, [run], tmp_path / "results", root)
    with pytest.raises(WsisError, match="rows that learn masks can't run"):
        judge(plan, [masked], tmp_path / "results", root)
    assert len(groups(plan, [run, masked])) == 2


def test_what_evaluation_refuses_is_refused_before_training(plan, run, coco_root, tmp_path):
    root = coco_root(boxes_only, "val2017")
    with pytest.raises(WsisError, match=r"instances_val2017\.json: .*mask AP needs masks"):
        judge(plan, [run], tmp_path, root)
    judge(plan, [run], tmp_path, root, predict_only=True)
    with pytest.raises(WsisError, match="mask AP needs masks"):
        judge(plan, [run], tmp_path, root)


def test_a_root_that_is_missing(plan, run, tmp_path):
    for action in (judge, compare):
        with pytest.raises(WsisError, match="no such folder"):
            action(plan, [run], tmp_path, tmp_path / "nowhere")
    with pytest.raises(WsisError, match="coco=PATH"):
        judge(plan, [run], tmp_path, None)
    compare(plan, [run], tmp_path, None)


def test_results_of_another_root_are_noticed(plan, run, coco_root, tmp_path):
    recipe, results = plan.runs[run].recipe, tmp_path / "results"
    folder_of(results, coco_root.root, run, recipe)
    for _ in range(2):
        compare(plan, [run], results, coco_root.root)
    moved = coco_root.root.rename(tmp_path / "moved")
    compare(plan, [run], results, moved)
    moved.rename(coco_root.root)
    for change in (
        lambda c: c["annotations"][0].update(bbox=[4, 5, 9, 8]),
        lambda c: c["categories"].append({"id": 9, "name": "cup"}),
    ):
        coco_root(change)
        for _ in range(2):
            with pytest.raises(WsisError, match="was trained on root"):
                compare(plan, [run], results, coco_root.root)


def test_mended_ground_truth_is_evaluated_again_and_trains_nothing(plan, run, coco_root, tmp_path):
    recipe, results = plan.runs[run].recipe, tmp_path / "results"
    evaluation = open_root(recipe, coco_root.root).eval_fingerprint
    folder = folder_of(results, coco_root.root, run, recipe, evaluation=evaluation)
    (verdict,) = judge(plan, [run], results, coco_root.root)
    made = (folder / "metrics.json").stat().st_mtime
    compare(plan, [run], results, coco_root.root)
    assert (folder / "metrics.json").stat().st_mtime == made and verdict.exists()
    coco_root(lambda c: c["annotations"][0].update(area=81), "val2017")
    compare(plan, [run], results, coco_root.root)
    assert (folder / "metrics.json").stat().st_mtime == 1 and not verdict.exists()
    (folder / "metrics.json").touch()
    compare(plan, [run], results, coco_root.root)
    assert (folder / "metrics.json").stat().st_mtime > 1


@pytest.mark.parametrize("fewer", [False, True])
def test_boxes_alone_train_through_the_engine(plan, run, coco_root, tmp_path, fewer):
    """Also where the ground truth lacks a class; mending it needs no training."""
    root, results = coco_root(boxes_only), tmp_path / "results"

    def change(content):
        if fewer:
            content["categories"].pop()
            content["annotations"] = [a for a in content["annotations"] if a["category_id"] == 3]

    coco_root(change, "val2017")
    options = RunOptions("cpu", 1, 1, 0, TrainOptions(progress=False))
    judge(plan, [run], results, root)
    train_runs(plan, [run], results, root, options)
    evaluate_runs(plan, [run], results, root)
    folder = results / "mini" / "runs" / run
    metrics = read_json(folder / "metrics.json")
    assert metrics["per_class"].keys() == {"person", "kite"} and metrics["images"] == 4
    assert (metrics["per_class"]["kite"] is None) == fewer
    weights = (folder / "model.safetensors").stat().st_mtime_ns
    coco_root(lambda c: c["annotations"][0].update(id=0), "val2017")
    with pytest.raises(WsisError, match="ids must start at 1"):
        evaluate_runs(plan, [run], results, root)
    coco_root(lambda c: c["annotations"][0].update(id=1), "val2017")
    train_runs(plan, [run], results, root, options)
    evaluate_runs(plan, [run], results, root)
    assert (folder / "model.safetensors").stat().st_mtime_ns == weights
    assert json.loads((folder / "metrics.json").read_text())["images"] == 4
