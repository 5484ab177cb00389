"""`wsis bench default`: a row of every kind, whose parts add up."""

from __future__ import annotations

import pytest

from wsis.bench.default import PARTS, _row, kinds, small
from wsis.plan import make_plan


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_every_method_has_a_row_that_trains_if_any_does(scale):
    plan = make_plan(scale, (0,))
    runs = kinds(plan)
    assert {kind.partition("/")[0] for kind in runs} == {run.recipe.method for run in plan.runs.values()}
    trained = {run.recipe.method for run in plan.runs.values() if run.iterations}
    for kind, run in runs.items():
        assert bool(plan.runs[run].iterations) == (kind.partition("/")[0] in trained)
    assert all(plan.runs[runs[kind]].rows for kind in runs if kind.endswith("/masks"))


def test_its_recipe_is_the_row_s_but_for_the_images_and_what_is_detected(plan):
    for run in kinds(plan).values():
        whole, few = plan.runs[run].recipe.settled(), small(plan.runs[run].recipe)
        assert (few.method, few.model, few.loss, few.schedule) == (
            whole.method,
            whole.model,
            whole.loss,
            whole.schedule,
        )


@pytest.mark.parametrize("kind", ["boxinst/masks", "boxcaseg", "boxes"])
def test_parts_add_up_to_units(plan, tmp_path, kind):
    drawn: list[float] = []
    row = _row(plan, kinds(plan)[kind], tmp_path, 0.5, drawn)
    assert len(drawn) == 1 and tuple(row["seconds"]) == PARTS
    assert row["units"] == pytest.approx(sum(row["seconds"].values()) / 0.5)
    images = row["iterations"] * plan.runs[row["id"]].recipe.schedule.batch
    assert row["units"] == pytest.approx(row["step"] * images + row["run"])
    assert (row["seconds"]["backward"] > 0) == (kind != "boxes")
