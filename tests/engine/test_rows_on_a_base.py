"""Rows that learn masks on one base: neither their order in a process nor an interruption changes any."""

import json

import pytest
import torch

from tests.engine.crashing import assert_equal
from tests.methods.sim.toy import TOTAL, WARMUP, sim_recipe
from wsis.data import shared
from wsis.data.loading import train_batches
from wsis.data.roots import open_root
from wsis.data.shapes.write import write_shapes
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import ShapesSpec
from wsis.engine.checkpoint import save_model
from wsis.engine.launch import make_fabric, set_threads
from wsis.engine.seeding import seed_process
from wsis.engine.state import begin
from wsis.engine.step import batches
from wsis.engine.train import TrainOptions, train
from wsis.methods import build_method
from wsis.methods.weights import load_model
from wsis.plan import make_plan

READ = {
    "train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64,
    "augment": "dihedral",
}  # fmt: skip
ROWS = ("boxinst", "sim", "condinst")


def recipe_of(name, **over):
    plain = sim_recipe() if name == "sim" else sim_recipe(method=name, sim=None)
    supervision = "masks" if name == "condinst" else "boxes"
    own = {
        "data": READ,
        "data.supervision": supervision,
        "model.trained": "masks",
        "init": {"parent": "base"},
    }
    return Recipe.model_validate(merged(merged(plain.model_dump(mode="json"), own), over), strict=False)


def forget(monkeypatch):
    """As in a process that has just started."""
    monkeypatch.setattr(shared, "_STREAMS", shared._Kept(1))


class Rows:
    """Trains rows into a folder, from one base on one root."""

    def __init__(self, folder):
        self.root = write_shapes(ShapesSpec(size=64, train_images=12, val_images=2), 0, folder / "shapes")
        self.folder, self.base = folder, folder / "base" / "model.safetensors"
        over = {"model.trained": "base", "init": None, "schedule.iterations": 4}
        self.train(recipe_of("boxinst", **over), "base", plain=True, parent=None)

    def train(self, recipe, name, plain=False, parent="base", crash=None, every=None):
        """Weights at the end; plain: the data's own stream, in which nothing is kept of other runs."""
        set_threads(1)
        seed_process("weights", recipe.seed)
        root = open_root(recipe, self.root)
        method = build_method(recipe, root.num_classes)

        def stream(shard):
            read = train_batches(recipe, root, shard) if plain else batches(method, root, None, shard)
            for t, micros in enumerate(read, shard.start):
                if t == crash:
                    raise RuntimeError("crash")
                yield micros

        options = TrainOptions(checkpoint_iterations=every, progress=False)
        fabric = make_fabric(recipe.schedule, "cpu", [0])
        train(recipe, method, stream, self.folder / name, fabric, parent and self.base, options)
        return load_model(self.folder / name / "model.safetensors")["model"]

    def losses(self, name):
        lines = (self.folder / name / "log.jsonl").read_text().splitlines()
        return [json.loads(line)["losses"] for line in lines]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return Rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def alone(rows):
    """Each row as it comes out without anything that is shared."""
    return {name: rows.train(recipe_of(name), f"alone-{name}", plain=True) for name in ROWS}


def test_the_rows_learn_masks_on_the_base_as_it_is(rows, alone):
    """Else the equalities below would prove little."""
    base = load_model(rows.base)["model"]
    part = ("mask_branch.", "head.controller.", "momentum.", "prototypes.", "iteration")
    for name, found in alone.items():
        assert all(torch.equal(value, found[key]) for key, value in base.items() if not key.startswith(part))
        moved = [key for key in base if not torch.equal(base[key], found[key])]
        assert {key.split(".")[0] for key in moved} == {"mask_branch", "head", "iteration"}, name
    pasted = [step["loss_paste"] > 0 for step in rows.losses("alone-sim")]
    assert not any(pasted[:WARMUP]) and sum(pasted) > 2
    assert all(step["loss_pair"] > 0 for step in rows.losses("alone-boxinst"))


@pytest.mark.parametrize("order", [ROWS, ROWS[::-1]], ids=["one way", "the other"])
def test_the_order_of_rows_in_a_process_changes_no_weight(rows, alone, order, monkeypatch):
    forget(monkeypatch)
    for name in order:
        folder = f"{order[0]}-first-{name}"
        assert_equal(rows.train(recipe_of(name), folder), alone[name])
        assert rows.losses(folder) == rows.losses(f"alone-{name}")


@pytest.mark.parametrize("name", ["boxinst", "sim"])
@pytest.mark.parametrize("before", [None, "condinst", "sim"])
def test_a_row_that_is_interrupted_and_resumed_ends_with_the_same_weights(
    rows, alone, name, before, monkeypatch, tmp_path
):
    """It is resumed in another process, which has kept nothing or what another row left."""
    folder = f"resumed-{name}-{before}"
    forget(monkeypatch)
    with pytest.raises(RuntimeError, match="crash"):
        rows.train(recipe_of(name), folder, crash=WARMUP + 3, every=2)
    forget(monkeypatch)
    if before:
        short = {"schedule.iterations": TOTAL - 2}  # so that the last batches are no longer kept
        rows.train(recipe_of(before, **short), f"before-{folder}")
    assert_equal(rows.train(recipe_of(name), folder, every=2), alone[name])
    assert rows.losses(folder) == rows.losses(f"alone-{name}")


def test_a_full_memory_changes_no_weight(rows, alone, monkeypatch):
    forget(monkeypatch)
    monkeypatch.setattr(shared, "LIMIT", 200_000)
    for name in ("condinst", "sim"):
        assert_equal(rows.train(recipe_of(name), f"full-{name}"), alone[name])


# The plan's rows


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke")


def test_every_row_can_start_from_what_it_forks(plan, tmp_path):
    """Also where its masks' part is wider, narrower or another one than its base's."""
    fitted = {}
    for run in plan.runs.values():
        recipe = run.recipe.settled()
        if run.parent is None or recipe.init.iteration:
            continue
        parent = plan.runs[run.parent].recipe.settled()
        alike = (parent.id, recipe.method, recipe.model, recipe.baiseg, recipe.boxcaseg, recipe.sim)
        if alike in fitted:
            continue
        path = tmp_path / parent.id / "model.safetensors"
        if not path.exists():
            save_model(path.parent, parent.id, parent.schedule.end, build_method(parent, 3))
        method = build_method(recipe, 3)
        _, odd = begin(recipe, method, path)
        weights, mine = load_model(path)["model"], method.state_dict()
        part = (*method.mask_part, "iteration")
        base = {key for key in weights if not key.startswith(part)}
        assert base == {key for key in mine if not key.startswith(part)}, run.id
        assert all(torch.equal(weights[key], mine[key]) for key in base), run.id
        assert odd == "" or recipe.model.trained != "masks", run.id
        fitted[alike] = recipe
    trained = [recipe for recipe in fitted.values() if recipe.model.trained == "masks"]
    assert {recipe.method for recipe in trained} == {
        "boxinst", "condinst", "sim", "mask_rcnn", "boxcaseg", "baiseg"
    }  # fmt: skip
    assert {recipe.baiseg.dim for recipe in trained if recipe.baiseg} >= {4, 8, 16, 32}
