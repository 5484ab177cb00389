"""What `variant` and `schedule.compile` mean for every kind of network that a plan has."""

from __future__ import annotations

import pytest

from wsis.methods import build_method
from wsis.plan import make_plan


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_every_network_can_be_built_and_compiled(variant):
    """A user's setting for all recipes must not fail in the middle of a workflow."""
    plan = make_plan("smoke", None, {"variant": variant, "schedule.compile": True})
    kinds = {}
    for run in plan.runs.values():
        recipe = run.recipe
        kinds[recipe.method, recipe.model.head, recipe.model.trained] = recipe
    assert {head for _, head, _ in kinds} >= {"condinst", "mask2former", "ocr", "mask_rcnn", "baiseg"}
    for recipe in kinds.values():
        method = build_method(recipe, 3)
        assert method.towers() or not recipe.schedule.total, recipe.id
