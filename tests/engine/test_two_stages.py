"""A network that makes proxy masks and the Mask R-CNN that learns them, at scale smoke."""

import json
import shutil
from types import SimpleNamespace

import pytest

from wsis.data.places import run_root
from wsis.data.roots import open_root
from wsis.engine.proxies import load_proxies, proxies_complete, proxy_files
from wsis.engine.run import RunOptions, train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.jobs import evaluate_runs, make_data
from wsis.plan import make_plan, shapes_root
from wsis.proxy.generate import read_proxies

OPTIONS = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Both stages of boxcaseg/7's 'PASCAL, merge', and of the row without merging, trained."""
    plan, results = make_plan("smoke"), tmp_path_factory.mktemp("results")
    second, raw = (plan.row_runs("boxcaseg/7", row)[0] for row in ("PASCAL, merge", "PASCAL"))
    (first,) = plan.runs[second].needs
    ids = [plan.runs[first].parent, first, second, raw]
    make_data(plan, results, shapes_root(plan.runs[first].recipe))
    train_runs(plan, ids, results, None, OPTIONS)
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
    assert trained.plan.runs[trained.raw].needs == (trained.ids[1],)
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
    assert second["protocol"] == "voc" and "AP50" in second["metrics"]


def test_missing_proxies_are_made_without_training(trained):
    before = {name: (trained.first / name).stat().st_mtime_ns for name in ("model.pt", "train.json")}
    content = [path.read_bytes() for path in proxy_files(trained.first)]
    shutil.rmtree(trained.first / "proxies")
    assert not proxies_complete(trained.first)
    with pytest.raises(WsisError, match="no proxy masks; train"):
        masks_of(trained, trained.raw)
    train_runs(trained.plan, trained.ids, trained.results, None, OPTIONS)
    assert proxies_complete(trained.first)
    assert [path.read_bytes() for path in proxy_files(trained.first)] == content
    assert before == {name: (trained.first / name).stat().st_mtime_ns for name in before}


def test_proxies_of_other_weights_are_not_taken_for_complete(trained, tmp_path):
    shutil.copytree(trained.first, tmp_path / "run")
    with open(tmp_path / "run" / "model.pt", "ab") as file:
        file.write(b"0")
    assert proxies_complete(trained.first) and not proxies_complete(tmp_path / "run")
