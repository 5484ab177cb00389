"""A network that makes proxy masks and the Mask R-CNN that learns them, at scale smoke."""

import json
import shutil
from types import SimpleNamespace

import pytest

from tests.engine.crashing import assert_equal, train_in, weights
from wsis.data.places import run_root, shapes_root
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.plan import make_plan
from wsis.proxy.folder import load_proxies, proxy_files
from wsis.proxy.generate import read_proxies

OPTIONS = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both stages of boxcaseg/7's 'PASCAL, merge', and of the row without merging, with all they start from.

    ids: the first stage's warm-up, the first stage, the second, and the second without merging.
    """
    plan, results = make_plan("smoke"), tmp_path_factory.mktemp("results")
    second, raw = (plan.row_runs("boxcaseg/7", row)[0] for row in ("PASCAL, merge", "PASCAL"))
    first = plan.runs[second].recipe.proxy.parent
    ids = [plan.runs[first].parent, first, second, raw]
    make_data(plan, results, shapes_root(plan.runs[first].recipe))
    train_runs(plan, plan.with_needed(ids), results, None, OPTIONS)
    folders = {
        name: results / "smoke" / "runs" / id for name, id in zip(("first", "second"), ids[1:3], strict=True)
    }
    return SimpleNamespace(plan=plan, results=results, ids=ids, raw=raw, **folders)


def masks_of(trained, id):
    recipe = trained.plan.runs[id].recipe
    return load_proxies(trained.first, recipe.proxy, recipe.seed)


def test_every_training_object_has_a_raw_mask_inside_its_box(trained):
    recipe = trained.plan.runs[trained.ids[1]].recipe
    root = open_root(recipe, run_root(recipe, trained.results, "smoke", None))
    images = list(read_proxies(*proxy_files(trained.first)))
    assert [image["image_id"] for image in images] == [picture.id for picture in root.train]
    boxes = {i.id: i.box for picture in root.train for i in picture.instances}
    made = {o["annotation_id"]: o for image in images for o in image["objects"]}
    assert made.keys() == boxes.keys()
    for number, entry in made.items():
        x0, y0, x1, y1 = boxes[number]
        assert entry["bbox"] == pytest.approx([x0, y0, x1 - x0, y1 - y0])
        assert 0 <= entry["certainty"] <= 1


def test_rows_that_differ_in_merging_share_the_first_stage_and_see_other_masks(trained):
    second, raw = (trained.plan.runs[id] for id in trained.ids[2:])
    assert raw.recipe.proxy.parent == second.recipe.proxy.parent == trained.ids[1]
    assert raw.parent == second.parent, "their detector is one, too"
    merged, stats = masks_of(trained, trained.ids[2])
    plain, _ = masks_of(trained, trained.raw)
    assert merged.keys() == plain.keys() and stats["drop_rate"] == 0
    assert any(merged[key]["counts"] != plain[key]["counts"] for key in plain), "smoke's objects overlap"
    recorded = json.loads((trained.second / "train.json").read_text())["proxy"]
    assert recorded["id"] == trained.ids[1] and recorded["objects"] == len(plain)


def test_both_stages_are_evaluated_by_their_own_protocols(trained):
    evaluate_runs(trained.plan, trained.ids[1:3], trained.results, None)
    first, second = (json.loads((f / "metrics.json").read_text()) for f in (trained.first, trained.second))
    assert first["protocol"] == "class-agnostic" and 0 < first["metrics"]["mIoU"] <= 100
    found = {second["protocol"]: second["metrics"]} | {k: v["metrics"] for k, v in second["also"].items()}
    assert "AP70" in found["voc"] and "APL" in found["coco"], "Table 7 has AP by COCO's, the rest by VOC's"


def test_boxes_alone_are_learnt_where_every_mask_is_dropped(trained):
    """No agreement is above 1: all masks of all images are dropped, their boxes stay."""
    overrides = {"boxcaseg.drop": 1.0}
    plan = make_plan("smoke", overrides=overrides)
    (id,) = plan.row_runs("boxcaseg/7", "PASCAL, merge").values()
    assert plan.runs[id].recipe.proxy.parent == trained.ids[1]
    assert plan.runs[id].parent == trained.plan.runs[trained.ids[2]].parent
    train_runs(plan, [id], trained.results, None, OPTIONS)
    recorded = json.loads((trained.results / "smoke" / "runs" / id / "train.json").read_text())
    assert recorded["proxy"]["drop_rate"] == 1 and recorded["losses"]["loss_mask"] == 0
    assert any("proxy masks were dropped" in text for text in recorded["deviations"])
    others = json.loads((trained.second / "train.json").read_text())["deviations"]
    assert not any("proxy masks were dropped" in text for text in others)
    base = trained.results / "smoke" / "runs" / plan.runs[id].parent
    losses = recorded["losses"] | json.loads((base / "train.json").read_text())["losses"]
    assert all(losses[name] > 0 for name in ("loss_cls", "loss_rpn_cls", "loss_rpn_box"))
    evaluate_runs(plan, [id], trained.results, None)
    metrics = json.loads((trained.results / "smoke" / "runs" / id / "metrics.json").read_text())
    assert metrics["also"]["voc"]["metrics"]["AP50"] >= 0


def test_missing_proxies_are_made_without_training(trained):
    before = {name: (trained.first / name).stat().st_mtime_ns for name in ("model.safetensors", "train.json")}
    content = [path.read_bytes() for path in proxy_files(trained.first)]
    shutil.rmtree(trained.first / "proxies")
    assert not proxy_files(trained.first)
    with pytest.raises(WsisError, match="no proxy masks; train"):
        masks_of(trained, trained.raw)
    train_runs(trained.plan, trained.ids, trained.results, None, OPTIONS)
    assert proxy_files(trained.first)
    assert [path.read_bytes() for path in proxy_files(trained.first)] == content
    assert before == {name: (trained.first / name).stat().st_mtime_ns for name in before}


def test_proxies_of_other_weights_are_not_taken_for_complete(trained, tmp_path):
    shutil.copytree(trained.first, tmp_path / "run")
    with open(tmp_path / "run" / "model.safetensors", "ab") as file:
        file.write(b"0")
    assert proxy_files(trained.first) and not proxy_files(tmp_path / "run")


@pytest.mark.parametrize("stage", [1, 2])
def test_a_crash_in_either_stage_changes_nothing(trained, tmp_path, stage):
    """Patches, sampled proposals and regions come from the seed, the iteration and the place alone."""
    run = trained.plan.runs[trained.ids[stage]]
    schedule = run.recipe.schedule.model_copy(update={"iterations": 5})
    recipe = run.recipe.model_copy(update={"schedule": schedule, "init": None})
    proxies = masks_of(trained, run.id)[0] if recipe.proxy else None
    place = run_root(recipe, trained.results, "smoke", None)
    root = open_root(recipe, place, proxies)
    salient = open_salient(place / "salient") if stage == 1 else None

    train_in(tmp_path / "whole", recipe, root, salient=salient)
    with pytest.raises(RuntimeError, match="crash"):
        train_in(tmp_path / "crashed", recipe, root, crash=3, salient=salient)
    train_in(tmp_path / "crashed", recipe, root, salient=salient)
    assert_equal(weights(tmp_path / "crashed"), weights(tmp_path / "whole"))
