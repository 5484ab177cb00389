"""A user's settings: keys and types are checked once, before any row."""

import pytest

from wsis.declare.load import DeclarationError
from wsis.declare.settings import check_settings


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"schedule": 5}, "set: schedule: Input should be an object, got 5"),
        ({"schedule.batch": "16"}, "set: schedule.batch: Input should be a valid integer, got '16'"),
        ({"schedule.batch": None}, "set: schedule.batch: Input should be a valid integer"),
        ({"schedule": {"lr": "x"}}, "set: schedule.lr: Input should be a valid number, got 'x'"),
        ({"schedule.lr": float("nan")}, "set: schedule.lr: Input should be a finite number"),
        ({"schedule.iterations": 1.5}, "set: schedule.iterations: Input should be a valid integer"),
        ({"schedule.lrr": 1}, "set: schedule.lrr: unknown key .there are: lr, "),
        ({"nothing": 1}, "set: nothing: unknown key"),
        ({"schedule..lr": 1}, "set: schedule.: unknown key"),
        ({"schedule": 1, "schedule.lr": 1}, "set: schedule.lr: schedule is given another value"),
        ({"schedule.lr": 1, "schedule": 1}, "set: schedule: keys inside of it are given"),
        ({"seed": 3}, "set: seed: seeds are chosen apart"),
        ({"data.short_side": 5}, "set: data.short_side: Input should be a valid array"),
        ({"sim.warmup": "x"}, "set: sim.warmup: Input should be a valid integer"),
        ({"loss": None}, "set: loss: Input should be an object"),
        ({"data.short_side": []}, "set: data.short_side: Tuple should have at least 1 item"),
        ({"boxcaseg.heads": []}, "set: boxcaseg.heads: Tuple should have at least 1 item"),
    ],
)
def test_a_wrong_type_is_one_line_that_names_the_key(settings, complaint):
    with pytest.raises(DeclarationError, match=complaint) as error:
        check_settings(settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss.pairwise": None},
        {"schedule.milestones": [], "boxcaseg.proxy_milestones": []},
        {"schedule.precision": 32},
        {"model.trained": "masks"},  # needs a parent, which a row may have
        {"init.iteration": 5},  # as does this
        {"sim.warmup": 3, "baiseg.dim": 16},  # of rows of different methods
        {"data": {"shapes": {"size": 64}}, "data.augment": "flip"},
    ],
)
def test_what_only_a_row_can_judge_is_left_to_it(settings):
    check_settings(settings)
