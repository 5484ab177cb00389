"""Settings for data of any size and any device: in proportion, and nothing the user said is lost."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from wsis.alone import alone_plan, fit_of, fitted
from wsis.declare.rate import doubts
from wsis.errors import WsisError
from wsis.fit.choose import FEW, choose, warning
from wsis.fit.facts import DataFacts, DeviceFacts, data_facts
from wsis.fit.run import plan_fit

DATA = DataFacts("coco", Path("root"), "train", "val", 200, 1500, 4, 300, 1500, True, "0123456789")
CPU, CARD = DeviceFacts("cpu", "processor", 16, 2), DeviceFacts("cuda", "a card", 80, 8)


def chosen(data=DATA, device=CPU, **given):
    return {choice.key: choice.value for choice in choose(data, device, "boxes", given)}


@pytest.mark.parametrize("method", fitted())
@pytest.mark.parametrize("images", [1, 7, 200, 100000])
@pytest.mark.parametrize("device", [CPU, CARD], ids=["cpu", "card"])
def test_every_choice_makes_a_recipe_without_doubts(method, images, device):
    plan, choices = plan_fit(method, replace(DATA, images=images), device, {}, 3)
    recipe = list(plan.runs.values())[-1].recipe
    assert recipe.seed == 3 and recipe.schedule.batch <= max(images, 1)
    assert not doubts(recipe) or recipe.schedule.total < 60  # a few steps have no room for a warm-up
    assert all(choice.why for choice in choices)


def test_a_card_gets_a_rate_in_proportion_to_the_batch():
    small, large = (chosen(device=CARD, **{"schedule.batch": batch}) for batch in (4, 16))
    assert large["schedule.lr"] == pytest.approx(4 * small["schedule.lr"])
    assert large["model.backbone"] == "resnet50" and "model.frozen_backbone" not in large
    assert small["schedule.iterations"] == pytest.approx(4 * large["schedule.iterations"], rel=0.01)


def test_a_processor_gets_a_small_frozen_backbone():
    found = chosen()
    assert found["model.backbone"] == "efficientnet_lite0" and found["model.frozen_backbone"]
    assert "model.frozen_backbone" not in chosen(**{"model.backbone": "tiny"})


def test_epochs_decide_the_schedule_and_the_warmups_their_share():
    one, ten = chosen(epochs=3), chosen(epochs=30)
    assert ten["schedule.iterations"] == 10 * one["schedule.iterations"] == 30 * 200 / 4
    for key in ("schedule.warmup", "loss.pairwise.warmup", "schedule.validate_every"):
        assert ten[key] == pytest.approx(10 * one[key], rel=0.1)


def test_the_users_settings_win_over_what_was_chosen():
    plan, _ = plan_fit("boxinst", DATA, CPU, {"schedule.lr": 0.5, "data.max_side": 300}, 0)
    recipe = next(iter(plan.runs.values())).recipe
    assert recipe.schedule.lr == 0.5 and recipe.data.max_side == 300
    with pytest.raises(WsisError, match=r"schedule\.rate"):
        plan_fit("boxinst", DATA, CPU, {"schedule.rate": 1}, 0)


def test_without_masks_in_val_nothing_is_validated_and_without_val_nothing_predicted():
    bare = replace(DATA, val_masks=False)
    assert "schedule.validate_every" not in chosen(bare)
    assert next(iter(plan_fit("boxinst", bare, CPU, {}, 0)[0].runs.values())).alone
    plan, _ = plan_fit("boxinst", replace(bare, val=None), CPU, {}, 0)
    assert not plan.predicts(next(iter(plan.runs)))


def test_a_method_that_learns_masks_says_who_does_not():
    learns = next(method for method in fitted() if fit_of(method).supervision == "masks")
    with pytest.raises(WsisError, match="from boxes learn: boxinst"):
        plan_fit(learns, replace(DATA, masks=0), CPU, {}, 0)


@pytest.mark.parametrize("method", ["boxcaseg", "baiseg", "boxes", "grabcut"])
def test_a_method_that_cannot_be_fitted_says_why(method):
    with pytest.raises(WsisError, match=r"can't be fitted: it .*these can: "):
        alone_plan(method, {}, {}, 0)


def test_what_continues_another_run_brings_that_run_along():
    plan, _ = plan_fit("sim", DATA, CPU, {}, 0)
    first, last = plan.runs
    assert plan.runs[last].needs == (first,) and not plan.predicts(first) and plan.predicts(last)


def test_few_objects_a_class_are_warned_of_unless_all_are_one():
    few = replace(DATA, classes=80, typical=12)
    assert "80 classes, and half of them have 12 objects" in warning(few, "all")
    assert "--classes one" in warning(few, "all")
    assert warning(few, "one") is warning(replace(few, classes=1), "all") is None
    assert warning(replace(few, typical=FEW), "all") is None


def test_other_data_are_another_run_and_a_copy_of_them_is_the_same(coco_root, tmp_path):
    root = coco_root()

    def run(root):
        plan, _ = plan_fit("sim", data_facts(root), CPU, {}, 0)
        return list(plan.runs)

    before = run(root)
    assert run(shutil.copytree(root, tmp_path / "copy")) == before

    def moved(content):
        content["annotations"][0]["bbox"][0] += 1

    coco_root(moved, "val2017")
    assert run(root) == before  # mended ground truth asks for no other training
    coco_root(moved)
    after = run(root)
    assert not {*before} & {*after}  # what it continues is another, too
    coco_root(lambda content: content["categories"].append({"id": 9, "name": "more"}), "val2017")
    assert not {*after} & {*run(root)}


def test_splits_are_found_or_asked_for(coco_root):
    root = coco_root(lambda content: None)
    facts = data_facts(root)
    assert (facts.train, facts.val, facts.images, facts.classes) == ("train2017", "val2017", 4, 2)
    assert facts.objects == 4 and facts.typical == 2
    (root / "annotations" / "instances_val2017.json").rename(root / "annotations" / "instances_more.json")
    assert data_facts(root).val is None  # train2017 is the usual name
    (root / "annotations" / "instances_train2017.json").rename(root / "annotations" / "instances_a.json")
    with pytest.raises(WsisError, match="--train NAME"):
        data_facts(root)
    with pytest.raises(WsisError, match="no split 'b'"):
        data_facts(root, "b")
