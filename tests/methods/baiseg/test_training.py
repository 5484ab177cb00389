"""BAISeg through the engine, at scale smoke: its threshold, its readings, the masks that another learns."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as masks

from tests.methods.baiseg.runs import literal_ap50, settings_of
from wsis.data.places import run_root, shapes_root
from wsis.data.roots import open_root
from wsis.data.shapes import write as shapes
from wsis.engine import execute
from wsis.engine.job import RunOptions
from wsis.engine.launch import make_fabric, set_threads
from wsis.engine.proxies import make_proxies
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.methods import build_method
from wsis.methods.baiseg.batches import dev_samples, semantic_samples, training_samples
from wsis.methods.baiseg.method import BAISeg
from wsis.methods.baiseg.semantic import SemanticMaps
from wsis.methods.baiseg.threshold import GRID
from wsis.methods.weights import load_model
from wsis.plan import make_plan
from wsis.proxy.folder import load_proxies, proxy_files
from wsis.proxy.generate import read_proxies

OPTIONS = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))
ROWS = {
    "trained": ("baiseg/3", "CFM + DMA + PPC + refinement"),
    "given": ("baiseg/3", "given semantics"),
    "unrefined": ("baiseg/3", "CFM + DMA + PPC"),
    "retrained": ("baiseg/1", "BAISeg (Semantic_gd)*†"),
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The full model, two readings of it, and the Mask R-CNN that learns its masks."""
    plan, results = make_plan("smoke"), tmp_path_factory.mktemp("results")
    ids = {name: plan.row_runs(*row)[0] for name, row in ROWS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes, "DEV_IMAGES", 8)
        make_data(plan, results, shapes_root(plan.runs[ids["trained"]].recipe))
    train_runs(plan, plan.with_needed(ids.values()), results, None, OPTIONS)
    return SimpleNamespace(plan=plan, results=results, ids=ids)


def recipe_of(done, name):
    return done.plan.runs[done.ids[name]].recipe.settled()


def folder_of(done, name, results=None):
    return (results or done.results) / "smoke" / "runs" / done.ids[name]


def root_of(done, name, proxies=None):
    recipe = recipe_of(done, name)
    return open_root(recipe, run_root(recipe, done.results, "smoke", None), proxies)


def network_of(done, name):
    """The run's network as a later process finds it."""
    set_threads(1)
    method = build_method(recipe_of(done, name), root_of(done, name).num_classes)
    method.load_state_dict(load_model(folder_of(done, name) / "model.safetensors")["model"])
    method.restore(folder_of(done, name))
    return method.eval()


def read(folder, name="train.json"):
    return json.loads((folder / name).read_text())


@pytest.mark.parametrize("name", ["given", "unrefined"])
def test_a_runs_threshold_has_the_best_ap50_on_its_development_images(done, name):
    recipe, method = recipe_of(done, name), network_of(done, name)
    dev = dev_samples(recipe, root_of(done, name))
    count = recipe.baiseg.dev_images  # fewer than there are
    assert len(dev) == count and all((sample.semantic is not None) == (name == "given") for _, sample in dev)
    maps = [method.maps([sample])[0] for _, sample in dev]
    pictures = [picture for picture, _ in dev]
    found = {
        value: round(
            literal_ap50(pictures, [method.extracted(m, settings_of(recipe, value)) for m in maps]), 3
        )
        for value in GRID
    }
    told = read(folder_of(done, name))["threshold"]
    assert told["images"] == count
    assert told["AP50"] == {f"{value:g}": pytest.approx(ap, abs=1e-3) for value, ap in found.items()}
    assert told["value"] == min(value for value in GRID if found[value] == max(found.values()))
    assert max(found.values()) > 0 or name == "unrefined"  # three steps teach the semantic branch little


def test_a_prediction_that_is_repeated_has_the_same_threshold_and_instances(done, tmp_path, monkeypatch):
    shutil.copytree(done.results, tmp_path / "results")
    folder = folder_of(done, "given", tmp_path / "results")
    before = [read(folder)["threshold"], (folder / "predictions.json").read_bytes()]
    (folder / "predictions.json").unlink()
    train_runs(done.plan, [done.ids["given"]], tmp_path / "results", None, OPTIONS)
    assert [read(folder)["threshold"], (folder / "predictions.json").read_bytes()] == before
    assert network_of(done, "given").threshold == before[0]["value"]


# Readings


def entries(found, sample, root):
    return [
        {
            "image_id": sample.id,
            "category_id": root.category_ids[e.label],
            "score": round(e.score, 6),
            "segmentation": {"size": e.mask["size"], "counts": e.mask["counts"].decode()},
        }
        for e in found
    ]


@pytest.mark.parametrize("name", ["given", "unrefined"])
def test_a_reading_has_its_parents_weights_and_extracts_by_its_own_settings(done, name):
    recipe, folder = recipe_of(done, name), folder_of(done, name)
    told, weights = read(folder), load_model(folder / "model.safetensors")["model"]
    assert told["iterations"] == recipe.schedule.total == 0
    assert told["parent"] == {
        "id": done.ids["trained"],
        "weights": read(folder_of(done, "trained"))["weights"],
    }
    parents = load_model(folder_of(done, "trained") / "model.safetensors")["model"]
    assert weights.keys() == parents.keys()
    assert all(torch.equal(weights[key], parents[key]) for key in parents if key != "iteration")

    method, root = network_of(done, "trained"), root_of(done, name)
    settings = settings_of(recipe, told["threshold"]["value"])
    assert settings.refine == (name == "given")
    expected = []
    for sample in semantic_samples(recipe, root):
        expected += entries(method.extracted(method.maps([sample])[0], settings), sample, root)
    assert expected and read(folder, "predictions.json") == expected


def test_a_reading_without_refinement_extracts_other_instances_from_the_same_maps(done):
    told = [read(folder_of(done, name))["threshold"]["value"] for name in ("trained", "unrefined")]
    predictions = [read(folder_of(done, name), "predictions.json") for name in ("trained", "unrefined")]
    assert told[0] == told[1] and predictions[0] != predictions[1]


def test_readings_and_trainings_are_evaluated(done):
    evaluate_runs(done.plan, [done.ids["given"]], done.results, None)
    assert read(folder_of(done, "given"), "metrics.json")["metrics"]["AP25"] > 0


# Another network learns the instances


def test_proxies_are_what_the_boundaries_make_of_the_training_maps(done):
    method, root = network_of(done, "trained"), root_of(done, "trained")
    images = list(read_proxies(*proxy_files(folder_of(done, "trained"))))
    assert [image["image_id"] for image in images] == [picture.id for picture in root.train]
    maps = SemanticMaps(root, "train")
    seen = set()
    for picture, image in zip(root.train, images, strict=True):
        (sample,) = training_samples(method.recipe, root, [picture])
        assert np.array_equal(sample.semantic, maps.read(picture))
        found = method.extracted(method.maps([sample])[0])
        assert len(found) == len(image["objects"])
        for e, entry in zip(found, image["objects"], strict=True):
            mask = masks.decode(entry["rle"]).astype(bool)
            assert np.array_equal(mask, masks.decode(e.mask))
            assert entry["category_id"] == root.category_ids[e.label]
            assert (sample.semantic[mask] == e.label + 1).all()
            seen.add(entry["annotation_id"])
    assert len(seen) == sum(len(image["objects"]) for image in images) > 0


def test_the_mask_rcnn_gets_these_objects_with_their_own_boxes_and_classes(done):
    recipe = recipe_of(done, "retrained")
    proxies, told = load_proxies(folder_of(done, "trained"), recipe.proxy, recipe.seed)
    images = {i["image_id"]: i["objects"] for i in read_proxies(*proxy_files(folder_of(done, "trained")))}
    root = root_of(done, "retrained", proxies)
    assert [p.id for p in root.train] == sorted(id for id, objects in images.items() if objects)
    for picture in root.train:
        assert len(picture.instances) == len(images[picture.id])
        for instance, entry in zip(picture.instances, images[picture.id], strict=True):
            mask = masks.decode(instance.segmentation)
            assert np.array_equal(mask, masks.decode(entry["rle"]))
            ys, xs = np.nonzero(mask)
            assert instance.box == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
            assert root.category_ids[instance.label] == entry["category_id"]
            assert not instance.crowd
    truth = {i.id for p in root.with_masks("train") for i in p.instances}
    assert not truth & {i.id for p in root.train for i in p.instances}, "no annotated object is left"
    recorded = read(folder_of(done, "retrained"))["proxy"]
    assert recorded == {"id": done.ids["trained"], **told}
    assert recorded["objects"] == sum(map(len, images.values())) and recorded["images"] == len(images)
    assert read(folder_of(done, "retrained"))["losses"]["loss_mask"] > 0


def test_no_instance_in_any_image_is_told(done, tmp_path):
    folder, recipe = tmp_path / "run", recipe_of(done, "retrained")
    shutil.copytree(folder_of(done, "trained"), folder)
    shutil.rmtree(folder / "proxies")
    method = network_of(done, "trained")
    method.extracted = lambda maps: []
    make_proxies(method, root_of(done, "trained"), folder, make_fabric(recipe.schedule, "cpu", [0]), False)
    with pytest.raises(WsisError, match="no instance in any of 8 training images"):
        load_proxies(folder, recipe.proxy, 0)


def test_proxies_of_another_threshold_are_made_again(done, tmp_path):
    """The weights are the same where the development images alone are others."""
    folder, root = tmp_path / done.ids["trained"], root_of(done, "trained")
    shutil.copytree(folder_of(done, "trained"), folder)
    method, fabric = network_of(done, "trained"), make_fabric(recipe_of(done, "trained").schedule, "cpu", [0])
    before = [path.stat().st_mtime_ns for path in proxy_files(folder)]
    make_proxies(method, root, folder, fabric, False)
    assert [path.stat().st_mtime_ns for path in proxy_files(folder)] == before
    method.threshold = 0.9 if method.threshold < 0.5 else 0.01
    make_proxies(method, root, folder, fabric, False)
    samples = list(training_samples(method.recipe, root, root.train))
    expected = [len(method.extracted(maps)) for maps in method.maps(samples)]
    assert [len(image["objects"]) for image in read_proxies(*proxy_files(folder))] == expected


def test_a_finished_parent_makes_its_proxies_later_with_its_own_threshold(done, monkeypatch):
    folder = folder_of(done, "trained")
    before = {name: (folder / name).stat().st_mtime_ns for name in ("model.safetensors", "train.json")}
    content = [path.read_bytes() for path in proxy_files(folder)]
    shutil.rmtree(folder / "proxies")
    monkeypatch.setattr(BAISeg, "calibrate", None)  # nothing is chosen again
    train_runs(done.plan, [done.ids["trained"], done.ids["retrained"]], done.results, None, OPTIONS)
    assert proxy_files(folder) and [path.read_bytes() for path in proxy_files(folder)] == content
    assert before == {name: (folder / name).stat().st_mtime_ns for name in before}


def test_readings_and_the_mask_rcnn_follow_a_parent_that_is_trained_again(done, tmp_path, monkeypatch):
    results = tmp_path / "results"
    shutil.copytree(done.results, results)
    names = ("trained", "given", "retrained")
    folders = {name: folder_of(done, name, results) for name in names}
    built = []
    original = execute.build_method

    def build(recipe, num_classes):
        built.append(recipe.id)
        method = original(recipe, num_classes)
        if recipe.id == done.ids["trained"]:
            method.begin = lambda: halve(method.boundary)
        return method

    @torch.no_grad()
    def halve(part):  # once it has the weights of its base
        next(part.parameters()).mul_(0.5)

    monkeypatch.setattr(execute, "build_method", build)
    for folder in folders.values():  # as Snakemake does before a job
        (folder / "train.json").unlink()
    ids = [done.ids[name] for name in names]
    train_runs(done.plan, ids, results, None, OPTIONS)
    assert built == [], "nothing had changed"

    old = read(folders["trained"])["weights"]
    shutil.rmtree(folders["trained"])
    for name in ("given", "retrained"):
        (folders[name] / "train.json").unlink()
    train_runs(done.plan, ids, results, None, OPTIONS)
    assert built == ids
    new = read(folders["trained"])["weights"]
    assert new != old
    assert (
        read(folders["given"])["parent"]["weights"] == read(folders["retrained"])["proxy"]["weights"] == new
    )
