"""Measured costs take the place of declared ones; the file is checked."""

from __future__ import annotations

import json

import pytest

from wsis.declare.load import DeclarationError
from wsis.declare.measured import FILE, Measured, measured_costs, write_measured
from wsis.flow.classes import classes
from wsis.plan import make_plan


def measured(scale="paper", device="card", **seconds) -> Measured:
    entries = {key.replace("__", "/"): value for key, value in seconds.items()}
    return Measured(scale=scale, device=device, torch="2", seconds_per_image=entries)


def test_what_is_measured_counts_and_the_rest_follows_its_ratio():
    declared, plan = make_plan("paper"), make_plan("paper", measured=measured(boxinst__resnet50=0.021))
    kinds = set()
    for id, run in plan.runs.items():
        kind = (run.recipe.method, run.recipe.model.backbone)
        images = run.iterations * run.recipe.schedule.batch
        if kind == ("boxinst", "resnet50"):
            assert run.device_hours == pytest.approx(images * 0.021 / 3600)
        assert run.device_hours == pytest.approx(declared.runs[id].device_hours / 10)
        kinds.add(kind)
    assert len(kinds) > 5
    assert plan.scale.cost.device == "one card" and "1 methods" in plan.scale.cost.source


def test_a_method_s_own_measurement_is_not_another_s():
    declared = make_plan("paper")
    plan = make_plan("paper", measured=measured(boxinst__resnet50=0.021, sim__resnet50=3.0))
    for id, run in plan.runs.items():
        if (run.recipe.method, run.recipe.model.backbone) == ("sim", "resnet50"):
            assert run.device_hours == pytest.approx(declared.runs[id].device_hours * 3.0 / (0.21 * 1.6))


def test_time_limits_follow():
    slow = make_plan("paper", measured=measured(boxinst__resnet50=2.1))
    fast = make_plan("paper", measured=measured(boxinst__resnet50=0.0021))
    names = [{each.name for each in classes(plan, plan.jobs, 8)} for plan in (slow, fast)]
    assert "long" in names[0] and not [name for name in names[1] if not name.startswith("short")]


def test_the_file_is_checked_and_found(tmp_path):
    assert measured_costs(tmp_path, "paper") is None
    path = tmp_path / "paper" / FILE
    write_measured(path, measured(boxinst__resnet50=0.1))
    write_measured(path, measured(sim__resnet50=0.2))
    assert measured_costs(tmp_path, "paper").seconds_per_image == {
        "boxinst/resnet50": 0.1,
        "sim/resnet50": 0.2,
    }
    write_measured(path, measured(device="other", sim__resnet50=0.3))
    assert measured_costs(tmp_path, "paper").seconds_per_image == {"sim/resnet50": 0.3}
    with pytest.raises(DeclarationError, match="measured at scale paper, not at mini"):
        measured_costs(tmp_path, "mini", path)
    with pytest.raises(DeclarationError, match=r"nowhere: no such file; wsis bench step --scale mini"):
        measured_costs(tmp_path, "mini", tmp_path / "nowhere")
    for key, value, complaint in (
        ("seconds_per_image", {"boxinst": 1.0}, "seconds_per_image"),
        ("seconds_per_image", {"boxinst/resnet50": 0}, "greater than 0"),
        ("device", None, "device"),
        ("more", 1, "more"),
    ):
        path.write_text(json.dumps(measured(boxinst__resnet50=0.1).model_dump() | {key: value}))
        with pytest.raises(DeclarationError, match=complaint) as error:
            measured_costs(tmp_path, "paper")
        assert str(path) in str(error.value)


def test_generated_scales_keep_their_units():
    plan = make_plan("smoke", (0,), measured=measured("smoke", boxinst__tiny=9.0))
    assert plan.scale.cost == make_plan("smoke", (0,)).scale.cost
