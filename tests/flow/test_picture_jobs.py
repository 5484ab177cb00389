"""Pictures of every run that reports illustrate; which runs those are, and which have none."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from wsis.data.places import run_root, shapes_root
from wsis.data.roots import open_root
from wsis.engine.checkpoint import save_model
from wsis.engine.launch import make_fabric
from wsis.engine.proxies import make_proxies
from wsis.errors import WsisError
from wsis.files import digest, write_json
from wsis.flow.jobs import make_data
from wsis.flow.picture_jobs import illustrated, picture_runs, run_beside, runs_shown
from wsis.methods import METHODS, build_method, info_of
from wsis.plan import make_plan
from wsis.proxy.folder import load_proxies

PICTURES = [(name, kind) for name in METHODS for kind in info_of(name).pictures]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A results folder in which all runs that pictures show look finished."""
    plan = make_plan("smoke", overrides={"data.shapes.val_images": 40})
    results = tmp_path_factory.mktemp("results")
    ids = dict.fromkeys(run for id in illustrated(plan) for run in runs_shown(plan, id)[::-1])
    for id in ids:
        recipe, folder = plan.runs[id].recipe.settled(), results / "smoke" / "runs" / id
        make_data(plan, results, shapes_root(recipe))
        root = open_root(recipe, run_root(recipe, results, "smoke", None))
        folder.mkdir(parents=True)
        data = {"root_name": root.name, "fingerprint": root.fingerprint, "classes": root.classes}
        train = {"recipe": id, "data": data, "threshold": {"value": 0.37}}
        if recipe.proxy:
            maker = folder.with_name(recipe.proxy.parent)
            network = build_method(plan.runs[maker.name].recipe.settled(), root.num_classes)
            make_proxies(network, root, maker, make_fabric(recipe.schedule, "cpu", [0]), show=False)
            train["proxy"] = {"id": maker.name, **load_proxies(maker, recipe.proxy, recipe.seed)[1]}
        else:
            torch.manual_seed(0)
            save_model(folder, id, 1, build_method(recipe, root.num_classes))
        write_json(folder / "train.json", train)
    return SimpleNamespace(plan=plan, results=results, runs=results / "smoke" / "runs")


def pictured(trained, id: str) -> tuple[list[dict], Path]:
    """The entries of a run's pictures.json, drawn now, and its path; the files are those and no others."""
    (path,) = picture_runs(trained.plan, [id], trained.results, None)
    entries = json.loads(path.read_text())
    assert {file.name for file in path.parent.glob("[!.]*")} == {e["file"] for e in entries} | {path.name}
    return entries, path


def run_of(trained, row: tuple[str, str]) -> str:
    return trained.plan.row_runs(*row)[trained.plan.seeds[0]]


@pytest.mark.parametrize(("method", "kind"), PICTURES, ids=lambda value: getattr(value, "words", value))
def test_every_run_that_reports_illustrate_has_its_pictures(trained, method, kind):
    module, function = kind.draw.split(":")
    assert callable(getattr(import_module(module), function)) and kind.rows
    for row in kind.rows:
        entries, path = pictured(trained, run_of(trained, row))
        assert entries
        for entry in entries:
            assert set(entry) == {"file", "title", "caption", "alt", "width", "height"}
            assert Image.open(path.parent / entry["file"]).size == (entry["width"], entry["height"])
            assert all(run in entry["caption"] for run in runs_shown(trained.plan, path.parents[1].name))


def test_pictures_of_before_do_not_stay_beside_new_ones(trained, monkeypatch):
    id = illustrated(trained.plan)[-1]
    _, path = pictured(trained, id)
    (path.parent / "of_before.jpg").touch()
    pictured(trained, id)

    def fail(*arguments):
        assert not list(path.parent.iterdir())
        raise RuntimeError("out of memory")

    monkeypatch.setattr("wsis.pictures.grid.save_sheets", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        picture_runs(trained.plan, [id], trained.results, None)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("kind", [kind for _, kind in PICTURES if kind.beside])
def test_a_run_is_shown_beside_one_of_its_seed_that_is_trained_on_the_same_data(trained, kind, capsys):
    plan = make_plan("smoke", seeds=(3, 4))
    for seed, id in plan.row_runs(*kind.rows[0]).items():
        assert plan.runs[run_beside(plan, id)].seed == seed
    id, other = run_of(trained, kind.rows[0]), run_of(trained, kind.beside)
    assert run_beside(trained.plan, id) == other and run_beside(trained.plan, other) is None
    train = trained.runs / other / "train.json"
    content = train.read_text()
    train.unlink()
    assert pictured(trained, id)[0] == []
    assert f"{other}, which it is shown beside, isn't trained" in capsys.readouterr().out
    other_data = json.loads(content)["data"] | {"fingerprint": "0" * 10}
    write_json(train, json.loads(content) | {"data": other_data})
    with pytest.raises(WsisError, match="was trained on"):
        picture_runs(trained.plan, [id], trained.results, None)
    train.write_text(content)


@pytest.mark.parametrize("kind", [kind for _, kind in PICTURES if kind.of_masks])
def test_masks_of_other_weights_than_were_trained_on_are_refused(trained, kind):
    id = run_of(trained, kind.rows[0])
    path = trained.runs / id / "train.json"
    content = json.loads(path.read_text())
    maker = trained.runs / trained.plan.runs[id].recipe.proxy.parent
    assert content["proxy"]["weights"] == digest(maker / "model.safetensors")
    write_json(path, {**content, "proxy": {**content["proxy"], "weights": "0" * 16}})
    with pytest.raises(WsisError, match=r"weights 0000000000000000, which aren't in .* train it again"):
        picture_runs(trained.plan, [id], trained.results, None)
    write_json(path, content)


def test_runs_without_pictures_are_refused_before_any_work(tmp_path):
    plan = make_plan("smoke")
    without = {name for name in METHODS if not info_of(name).pictures}
    runs = {run.recipe.method: id for id, run in plan.runs.items() if not run.recipe.proxy}
    shown = {name for name, kind in PICTURES if kind.of_masks}
    proxied = [id for id, run in plan.runs.items() if run.recipe.proxy]
    others = [id for id in proxied if plan.runs[plan.runs[id].recipe.proxy.parent].recipe.method not in shown]
    assert others and without & {*runs}
    for id in [runs[name] for name in without & {*runs}] + others:
        with pytest.raises(
            WsisError, match=rf"{id}: there are no pictures of it, only of .*{PICTURES[0][1].words}"
        ):
            picture_runs(plan, [id], tmp_path, None)
    with pytest.raises(WsisError, match="no run nobody-0"):
        picture_runs(plan, ["nobody-0"], tmp_path, None)
