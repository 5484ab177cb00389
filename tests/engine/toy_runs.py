"""A plan of toy runs, and toys in place of data and methods."""

import json
from types import SimpleNamespace

import pytest
import torch

from tests.engine.toy import Toy, toy_recipe
from wsis.declare.load import load_tables
from wsis.declare.recipe import Recipe
from wsis.declare.scale import load_scale
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.parents import InitSpec
from wsis.engine import execute, finish
from wsis.engine.job import RunOptions
from wsis.engine.train import TrainOptions
from wsis.methods import weights
from wsis.plan import Plan, Run

OPTIONS = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))


def plan_of(*recipes: Recipe) -> Plan:
    published = recipe_of().model_copy(update={"variant": "released"})
    runs = {recipe.id: Run(recipe.id, recipe, published, [("boxinst/3", "box mask")]) for recipe in recipes}
    return Plan(load_scale("smoke"), (0,), load_tables(), runs)


def recipe_of(seed=0, parent=None, iterations=4) -> Recipe:
    recipe = toy_recipe(seed=seed, iterations=iterations)
    init = InitSpec(parent=parent) if parent else None
    return recipe.model_copy(update={"data": DataSpec(dataset="coco"), "init": init})


@pytest.fixture
def toys(monkeypatch):
    """Toys for data and methods; `failing`: seeds whose loss is not finite; `shift`: added to weights."""
    seen = SimpleNamespace(failing=set(), built=[], opened=0, shift=0.0)

    def build(recipe, num_classes):
        seen.built.append(recipe.id)
        method = Toy()
        with torch.no_grad():
            method.out.weight += seen.shift
        if recipe.seed in seen.failing:
            method.out.weight.data.fill_(float("nan"))
        return method

    def opened(recipe, path, cache):
        seen.opened += 1
        return SimpleNamespace(
            name=path.name,
            path=path,
            num_classes=2,
            category_ids=(3, 7),
            category_names=("person", "kite"),
            train=range(9),
            eval=range(5),
            fingerprint="ab",
            classes="cd",
            eval_fingerprint="ef",
            eval_listing="gh",
        )

    for module in (execute, weights):
        monkeypatch.setattr(module, "build_method", build)
    monkeypatch.setattr(execute, "open_root", opened)
    monkeypatch.setattr(finish, "official", lambda root: {"train": (9, 10, False), "val": (5, 5, True)})
    monkeypatch.setattr(execute, "_roots", {})
    return seen


def read(folder, name):
    return json.loads((folder / name).read_text())
