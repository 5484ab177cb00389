"""`wsis bench launches`: every method that trains has a row, and a step hardly waits."""

from __future__ import annotations

import pytest

from wsis.bench.launches import measured, recipes
from wsis.errors import WsisError
from wsis.plan import make_plan


def test_every_method_that_trains_has_a_recipe_that_trains_all_of_it():
    plan = make_plan("smoke", (0,))
    found = recipes(plan, 4)
    assert found.keys() == {run.recipe.method for run in plan.runs.values() if run.iterations}
    for name, recipe in found.items():
        assert (recipe.method, recipe.model.trained, recipe.schedule.batch) == (name, "all", 4)
        assert recipe.init is None


def test_a_step_and_its_plain_formulation():
    found = measured("smoke", 2, ["boxinst", "baiseg"])
    assert list(found) == ["boxinst", "boxinst, plain", "baiseg"]
    for row in found.values():
        assert row.images == 2 and row.operations > 100 and row.waits == row.host_data == row.library == 0
        assert not row.causes
        assert row.prediction + row.prediction_library == sum(row.in_prediction.values())
    assert found["boxinst"].operations != found["boxinst, plain"].operations


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_a_scale_without_generated_images_is_refused(scale):
    with pytest.raises(WsisError, match="generated"):
        measured(scale)
