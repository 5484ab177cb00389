"""Costs: of every kind of run that a scale has, never silently nothing."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from wsis.declare.load import DeclarationError
from wsis.declare.scale import Cost, load_scale
from wsis.plan import make_plan

UNITS = {"step": {"boxinst": 1.0}, "run": {"boxinst": 5.0}, "process": 1, "root": 1, "report": 1, "unit": 1}
OTHERS = {"device": "d", "megabytes": {}, "source": "s"}


def recipe(scale="tiny", **model):
    plan = make_plan(scale, seeds=(0,))
    found = next(run.recipe for run in plan.runs.values() if run.recipe.method == "boxinst")
    return found.model_copy(update={"model": found.model.model_copy(update=model)})


@pytest.mark.parametrize("scale", ["smoke", "tiny", "mini", "paper"])
def test_every_run_that_trains_costs_something(scale):
    runs = make_plan(scale).runs.values()
    assert all(run.device_hours > 0 for run in runs if run.iterations)
    assert all(run.disk_gb > 0 for run in runs if run.recipe.model.backbone != "none")


@pytest.mark.parametrize("missing", ["step", "run"])
def test_a_method_without_a_cost_is_refused(missing):
    cost = Cost(**OTHERS | UNITS | {missing: {"sim": 1.0}})
    with pytest.raises(DeclarationError, match=rf"cost.{missing} .* no boxinst/condinst or boxinst/base or"):
        cost.of_run(recipe(), 10)
    with pytest.raises(DeclarationError, match=r"seconds_per_image .* no resnet50"):
        Cost(**OTHERS, seconds_per_image={}).of_run(recipe("mini"), 10)
    with pytest.raises(DeclarationError, match=r"cost.methods .* no boxinst"):
        Cost(**OTHERS, seconds_per_image={"resnet50": 1.0}, methods={"sim": 1.6}).of_run(recipe("mini"), 10)


def test_the_closest_key_counts():
    step = {"boxinst": 1.0, "boxinst/tiny": 2.0, "boxinst/masks": 3.0}
    cost = Cost(**OTHERS | UNITS | {"step": step})
    assert cost.of_run(recipe(), 10) == 25.0
    assert cost.of_run(recipe(trained="masks"), 10) == 35.0
    assert cost.of_run(recipe(backbone="tiny-resnet50"), 10) == 15.0
    assert cost.of_run(recipe(), 0) == 5.0


@pytest.mark.parametrize("given", [{}, {"step": {}}, UNITS | {"seconds_per_image": {}}])
def test_a_cost_is_of_one_kind(given):
    with pytest.raises(ValidationError, match="either seconds_per_image, or all of step"):
        Cost(**OTHERS, **given)


def test_generated_scales_count_in_units_and_others_in_seconds():
    for name in ("smoke", "tiny", "mini", "paper"):
        scale = load_scale(name)
        assert (scale.cost.step is not None) == (scale.data == "generated")
