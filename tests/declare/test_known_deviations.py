"""Deviations known before a run: first weights, Mask R-CNN's details, SIM's W outside the box."""

from __future__ import annotations

import pytest

from wsis.declare.load import DeclarationError
from wsis.plan import Run, make_plan

FIRST_WEIGHTS = "model.weights: MSRA's -> imagenet"
RESNETS = {"resnet50", "resnet101", "resnet101-dcn"}


@pytest.fixture(scope="module")
def paper():
    return make_plan("paper")


def of(plan, table: str, label: str) -> Run:
    return plan.runs[next(iter(plan.row_runs(table, label).values()))]


def about(run: Run, key: str) -> list[str]:
    """The lines about a key, without what is said of them in brackets."""
    return [line.partition(" (")[0] for line in run.deviations if line.startswith(f"{key}:")]


def test_detectors_begin_with_other_weights_than_in_the_papers_code(paper):
    """But for Mask2Former, whose code has torchvision's."""
    for run in paper.runs.values():
        if run.recipe.model.head == "mask2former":
            assert not about(run, "model.weights"), run.rows
            continue
        detector = run.recipe.method not in ("boxcaseg", "baiseg") and run.recipe.schedule.total > 0
        if detector and run.recipe.model.backbone in RESNETS:
            assert about(run, "model.weights") == [FIRST_WEIGHTS], run.rows
        elif run.recipe.model.backbone not in RESNETS or run.recipe.method in ("boxcaseg", "baiseg"):
            assert not about(run, "model.weights"), run.rows


def test_a_file_of_the_zoo_is_no_deviation_and_any_other_is():
    zoo = make_plan("paper", overrides={"model.weights": "/zoo/R-50.pkl"})
    assert not about(of(zoo, "boxinst/3", "projection"), "model.weights")
    assert about(of(zoo, "baiseg/3", "CFM"), "model.weights") == ["model.weights: imagenet -> /zoo/R-50.pkl"]
    other = make_plan("paper", overrides={"model.weights": "/mine.pth"})
    line = ["model.weights: imagenet -> /mine.pth"]
    assert about(of(other, "boxinst/3", "projection"), "model.weights") == line


def test_small_networks_stand_for_no_code():
    for scale in ("smoke", "tiny"):
        lines = {line for run in make_plan(scale).runs.values() for line in run.deviations}
        assert not [line for line in lines if line.startswith("model.details")]
        assert not [line for line in lines if "MSRA" in line or "neither paper nor code" in line]


@pytest.mark.parametrize(
    "label, departs", [("pseudo", True), ("pseudo, W ignored outside the box", False),
                       ("pseudo, W literal", False), ("released", False)]
)  # fmt: skip
def test_w_outside_the_box_is_neither_sources(paper, label, departs):
    told = [line for line in of(paper, "sim/3", label).deviations if "neither paper nor code" in line]
    assert len(told) == departs and all(line.startswith("sim.outside:") for line in told)


DETECTRON2, BENCHMARK = ("boxinst/4", "Mask R-CNN R-50 3x"), ("boxcaseg/7", "PASCAL, merge, drop")


def test_mask_rcnns_details_are_torchvisions_unless_they_are_asked_for(paper):
    for row, code in ((DETECTRON2, "official"), (BENCHMARK, "maskrcnn-benchmark")):
        run = of(paper, *row)
        assert (run.recipe.method, run.recipe.model.details) == ("mask_rcnn", "own")
        assert about(run, "model.details") == [f"model.details: {code} -> own"]


def test_official_means_the_code_of_the_paper():
    plan = make_plan("paper", overrides={"model.details": "official"})
    for row, code in ((DETECTRON2, "official"), (BENCHMARK, "maskrcnn-benchmark")):
        run = of(plan, *row)
        assert run.recipe.model.details == code and not about(run, "model.details")
    boxinst = of(plan, "boxinst/3", "projection")
    assert boxinst.recipe.model.details == "official"
    assert "model.details: own -> official" in about(boxinst, "model.details")


def test_detectron2s_own_network_has_no_details_of_ours(monkeypatch):
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: True)
    run = of(make_plan("paper"), *DETECTRON2)
    assert (run.recipe.model.provider, run.recipe.model.details) == ("detectron2", "own")
    assert not about(run, "model.details") and not about(run, "model.provider")


def test_details_of_another_code_are_refused():
    with pytest.raises(DeclarationError, match=r"'boxinst' has the details own or official: model\.details"):
        make_plan("paper", overrides={"model.details": "maskrcnn-benchmark"})
