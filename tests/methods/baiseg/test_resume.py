"""BAISeg's trainings that break off, and that two processes share, at scale smoke."""

import json
import shutil
from functools import partial
from types import SimpleNamespace

import pytest

from tests.engine.crashing import assert_equal, train_in, weights
from tests.engine.processes import start, wait_for
from wsis.data.places import run_root, shapes_root
from wsis.data.roots import open_root
from wsis.data.shapes import write as shapes
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.engine.predict import predict
from wsis.engine.proxies import make_proxies
from wsis.flow.jobs import make_data
from wsis.methods import build_method
from wsis.plan import make_plan
from wsis.proxy.folder import proxy_files
from wsis.proxy.generate import read_proxies


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The full model's recipe and its images."""
    plan, results = make_plan("smoke"), tmp_path_factory.mktemp("results")
    recipe = plan.runs[plan.row_runs("baiseg/3", "CFM + DMA + PPC + refinement")[0]].recipe.settled()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "DEV_IMAGES", 8)
        make_data(plan, results, shapes_root(recipe))
    return SimpleNamespace(recipe=recipe, results=results)


def longer(drawn, iterations=6, **data):
    recipe = drawn.recipe
    schedule = recipe.schedule.model_copy(update={"iterations": iterations})
    spec = recipe.baiseg.model_copy(update={"contrast_warmup": 2, "threshold": 0.3})
    kept = recipe.data.model_copy(update=data)
    return recipe.model_copy(update={"schedule": schedule, "baiseg": spec, "data": kept})


@pytest.mark.parametrize("supervision", ["semantic", "masks"])
def test_a_crash_and_a_resume_change_nothing(drawn, tmp_path, supervision):
    recipe = longer(drawn, supervision=supervision)
    root = open_root(recipe, run_root(recipe, drawn.results, "smoke", None))
    train_in(tmp_path / "whole", recipe, root)
    steps = [json.loads(line)["losses"] for line in (tmp_path / "whole" / "log.jsonl").open()]
    assert [step["loss_contrast"] > 0 for step in steps] == [False] * 2 + [True] * 4
    assert weights(tmp_path / "whole")["iteration"] == 6
    for crash in (3, 5):
        with pytest.raises(RuntimeError, match="crash"):
            train_in(tmp_path / f"{crash}", recipe, root, crash=crash)
        assert train_in(tmp_path / f"{crash}", recipe, root)[1]["resumed"] == 1
        assert_equal(weights(tmp_path / f"{crash}"), weights(tmp_path / "whole"))


def test_killed_for_real_in_the_middle(drawn, tmp_path):
    recipe = longer(drawn)
    root = open_root(recipe, run_root(recipe, drawn.results, "smoke", None))
    process, _ = start(partial(train_in, tmp_path / "killed", recipe, root, every=1, held=4))
    wait_for(tmp_path / "killed" / "checkpoints" / "previous.pt", process)
    process.kill()
    process.join()
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert train_in(tmp_path / "killed", recipe, root)[1]["resumed"] == 1
    train_in(tmp_path / "whole", recipe, root)
    assert_equal(weights(tmp_path / "killed"), weights(tmp_path / "whole"))


def shared_work(folder, recipe, root, devices, crash=None):
    """Train, choose a threshold, predict, and make proxies; each process notes its threshold."""
    method, _ = train_in(folder, recipe, root, devices, crash)
    return finish(folder, recipe, root, method, devices)


def finish(folder, recipe, root, method, devices):
    set_threads(1)
    fabric = make_fabric(recipe.schedule, "cpu", range(devices))
    spec = recipe.baiseg.model_copy(update={"threshold": None, "eval_semantics": "ground_truth"})
    method.spec, method.recipe = spec, recipe.model_copy(update={"baiseg": spec})
    method.threshold = None
    told = predict(method, root, folder / "predictions.json", fabric, False)
    (folder / f"threshold-{fabric.global_rank}").write_text(json.dumps([method.threshold, told]))
    make_proxies(method, root, folder, fabric, False)
    return told


def proxies_in(folder):
    images = list(read_proxies(*proxy_files(folder)))
    return sorted((image["image_id"], json.dumps(image["objects"])) for image in images)


def test_two_processes_resume_exactly_and_predict_each_image_once(drawn, tmp_path):
    recipe = longer(drawn)
    root = open_root(recipe, run_root(recipe, drawn.results, "smoke", None))
    folders = [tmp_path / name for name in ("whole", "crashed")]
    launch(shared_work, (folders[0], recipe, root, 2), 2, "fork")
    with pytest.raises(Exception, match="crash"):
        launch(shared_work, (folders[1], recipe, root, 2, 5), 2, "fork")
    launch(shared_work, (folders[1], recipe, root, 2), 2, "fork")
    assert_equal(weights(folders[1]), weights(folders[0]))

    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(folders[0] / "model.safetensors", alone)
    method = build_method(recipe, root.num_classes)
    method.load_state_dict(weights(alone))
    told = finish(alone, recipe, root, method, 1)
    expected = [told["threshold"]["value"], told]
    for folder in folders:
        assert [json.loads((folder / f"threshold-{rank}").read_text()) for rank in (0, 1)] == [expected] * 2
        assert (folder / "predictions.json").read_bytes() == (alone / "predictions.json").read_bytes()
        assert len(proxy_files(folder)) == 2 and proxies_in(folder) == proxies_in(alone)
    assert {entry["image_id"] for entry in json.loads((alone / "predictions.json").read_text())} == {
        p.id for p in root.eval
    }
