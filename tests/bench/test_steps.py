"""Seconds a training image, measured: a step of every kind that a table trains, on drawn images."""

from __future__ import annotations

import pytest

from wsis.bench import steps
from wsis.bench.steps import Options, measure
from wsis.errors import WsisError
from wsis.plan import make_plan

SMALL = {"short_side": [64], "eval_short_side": 64, "max_side": 64}


def test_every_kind_of_a_table_is_measured(monkeypatch):
    monkeypatch.setattr(steps, "SIDE", 64)
    plan = make_plan("mini", (0,), {"model.backbone": "tiny", "data": SMALL, "schedule.batch": 2})
    found = measure(plan, ["boxinst/3"], Options("cpu", steps=1))
    assert set(found.seconds_per_image) == {"boxinst/tiny"} and found.scale == "mini"
    assert 0 < found.seconds_per_image["boxinst/tiny"] < 60


def test_where_there_is_nothing_to_measure_it_says_so():
    with pytest.raises(WsisError, match="wsis bench calibrate"):
        measure(make_plan("tiny", (0,)), ["boxinst/3"], Options("cpu"))
    with pytest.raises(WsisError, match="nothing is trained"):
        measure(make_plan("mini", (0,)), [], Options("cpu"))
