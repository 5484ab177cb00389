"""A default may change and an id not: then the settings that a run's folder keeps decide."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.declare.specs.predict import PredictSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.declare.stored import difference
from wsis.errors import WsisError
from wsis.flow.jobs import evaluate_runs
from wsis.plan import make_plan

TREE = {"method": "boxinst", "schedule": {"iterations": 100, "lr": 0.02}, "predict": {"detections": 50}}


def recipe(**changes) -> Recipe:
    return parse(Recipe, TREE | changes, "recipe")


def store(folder: Path, recipe: Recipe, **changes) -> None:
    """recipe.json as a training writes it, with `changes` of its sections."""
    tree = recipe.settled().model_dump(mode="json")
    for section, values in changes.items():
        tree[section] |= values
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps({"id": recipe.id, "recipe": tree}))


@contextmanager
def other_default(spec: type, key: str, value: object) -> Iterator[None]:
    """While entered, `spec` is as if it had been written with another default."""
    field = spec.model_fields[key]
    before = field.default
    try:
        field.default = value
        for kind in (spec, Recipe):
            kind.model_rebuild(force=True)
        yield
    finally:
        field.default = before
        for kind in (spec, Recipe):
            kind.model_rebuild(force=True)


@pytest.mark.parametrize(
    ("spec", "key", "value", "text"),
    [
        (PredictSpec, "nms", 0.7, "trained with predict.nms 0.6 (planned: 0.7)"),
        (ScheduleSpec, "warmup", 5, "trained with schedule.warmup 1000 (planned: 5)"),
    ],
)
def test_a_changed_default_keeps_the_id_and_is_told(tmp_path, spec, key, value, text):
    trained = recipe()
    store(tmp_path, trained)
    assert difference(tmp_path, trained) is None
    with other_default(spec, key, value):
        planned = recipe()
        assert planned.id == trained.id and difference(tmp_path, planned) == text
    assert difference(tmp_path, recipe()) is None


def test_a_key_that_is_newer_than_the_run_had_its_default(tmp_path):
    store(tmp_path, recipe())
    content = json.loads((tmp_path / "recipe.json").read_text())
    del content["recipe"]["predict"]["nms"], content["recipe"]["schedule"]["lr"]
    content["recipe"]["data"]["gone"] = 3
    content["recipe"]["another"] = None
    (tmp_path / "recipe.json").write_text(json.dumps(content))
    lr, gone = "schedule.lr absent (planned: 0.02)", "data.gone 3 (planned: absent)"
    assert difference(tmp_path, recipe()) == f"trained with {gone}, {lr}"


def test_nothing_is_known_of_a_run_without_its_recipe(tmp_path):
    assert difference(tmp_path, recipe()) is None


def test_a_run_of_other_settings_is_not_evaluated(tmp_path):
    plan = make_plan("smoke", (0,))
    id, run = next(iter(plan.runs.items()))
    store(tmp_path / "smoke" / "runs" / id, run.recipe, schedule={"warmup": 77})
    with pytest.raises(WsisError, match=rf"{id}: trained with schedule.warmup 77 \(planned: 1\); train it"):
        evaluate_runs(plan, [id], tmp_path, None)
