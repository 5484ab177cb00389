"""model.provider: auto is decided when a row is resolved; by name, one that is absent is one clear error."""

from __future__ import annotations

import pytest

from wsis.declare.load import DeclarationError
from wsis.plan import make_plan

ROW = ("boxinst/4", "Mask R-CNN")


@pytest.fixture
def there(monkeypatch):
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: True)


def runs(plan, table: str = "boxinst/4", method: str = "mask_rcnn"):
    return [run for run in plan.runs.values() if run.recipe.method == method and table in dict(run.rows)]


def providers(plan):
    return {run.recipe.model.provider for run in plan.runs.values()}


def test_auto_is_detectron2_where_it_is_installed(there):
    plan = make_plan("paper")
    assert {run.recipe.model.provider for run in runs(plan)} == {"detectron2"}
    assert not [text for run in runs(plan) for text in run.deviations if "provider" in text]
    others = [run for run in plan.runs.values() if run not in runs(plan)]
    assert {run.recipe.model.provider for run in others} == {"torchvision"}


def test_elsewhere_it_is_torchvisions_and_a_deviation():
    plan = make_plan("paper")
    assert providers(plan) == {"torchvision"}
    assert all("model.provider: detectron2 -> torchvision" in run.deviations for run in runs(plan))


def test_the_id_says_which(monkeypatch):
    without = {run.id for run in runs(make_plan("paper"))}
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: True)
    assert without.isdisjoint(run.id for run in runs(make_plan("paper")))
    asked = make_plan("paper", overrides={"model.provider": "torchvision"})
    assert without == {run.id for run in runs(asked)}


@pytest.mark.parametrize("scale", ["smoke", "tiny"])
def test_generated_scales_never_ask(scale, there):
    plan = make_plan(scale)
    assert providers(plan) == {"torchvision"}
    assert not [text for run in plan.runs.values() for text in run.deviations if "provider" in text]


def test_by_name_where_it_is_absent(there, monkeypatch):
    plan = make_plan("paper", overrides={"model.provider": "detectron2"})
    assert {run.recipe.method for run in plan.runs.values() if run.recipe.model.provider == "detectron2"} == {
        "mask_rcnn"
    }
    with pytest.raises(DeclarationError, match="detectron2's network has resnet50, resnet101, not tiny"):
        make_plan("tiny", overrides={"model.provider": "detectron2"})
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: False)
    with pytest.raises(
        DeclarationError,
        match=r"detectron2 is not installed: .*make detectron2 SOURCE=path.*environment\.yml",
    ):
        make_plan("paper", overrides={"model.provider": "detectron2"})
