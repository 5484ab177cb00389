"""Streams that runs of a process share, beside those from the data alone, and notes on their batches."""

from dataclasses import fields
from functools import cache, partial
from itertools import islice

import pytest
import torch

from tests.methods.baiseg import scenes as baiseg
from tests.methods.boxcaseg import scenes as boxcaseg
from tests.methods.sim.toy import sim_recipe
from wsis.data.loading import Shard, train_batches
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.engine.step import batches
from wsis.methods import build_method
from wsis.methods.baiseg.batches import semantic_batches
from wsis.methods.boxcaseg.patches import patch_batches

READ = {
    "train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64,
    "augment": "dihedral",
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", ["boxinst", "boxcaseg", "baiseg"])


def recipe(kind="boxinst", **over):
    """Keys with a double underscore reach into sections; at first a row on a base that is frozen."""
    plain = {
        "boxinst": lambda: sim_recipe(method="boxinst", sim=None),
        "boxcaseg": lambda: boxcaseg.recipe(patch=32, side=32, salient_images=5),
        "baiseg": lambda: baiseg.recipe(crop=48),
    }[kind]()
    own = {"model.trained": "masks", "init": {"parent": "base"}, "schedule.batch": 4, "data": READ}
    tree = merged(plain.model_dump(mode="json"), own)
    return Recipe.model_validate(
        merged(tree, {key.replace("__", "."): value for key, value in over.items()}), strict=False
    )


method_of = cache(partial(build_method, num_classes=3))


def read(recipe, place, start=0, count=6, micro=2, proxies=None):
    """Iterations from the stream that a run of this recipe trains on."""
    root, salient = open_root(recipe, place, proxies), _salient(recipe, place)
    found = batches(method_of(recipe), root, salient, Shard(start, micro=micro))
    return list(islice(found, count))


def plain(recipe, place, start=0, count=6, micro=2, proxies=None):
    """The same from the data alone."""
    root, salient = open_root(recipe, place, proxies), _salient(recipe, place)
    if recipe.method == "boxcaseg":
        found = patch_batches(recipe, root, salient, Shard(start, micro=micro))
    else:
        make = semantic_batches if recipe.method == "baiseg" else train_batches
        found = make(recipe, root, Shard(start, micro=micro))
    return list(islice(found, count))


def _salient(recipe, place):
    return open_salient(place / "salient") if recipe.boxcaseg else None


def assert_same(found, expected):
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            _assert_same(a, b)


def _assert_same(a, b):
    assert type(a) is type(b)
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            _assert_same(x, y)
    elif hasattr(a, "__dataclass_fields__"):
        for entry in fields(a):
            if entry.name != "memo":
                _assert_same(getattr(a, entry.name), getattr(b, entry.name))
    else:
        assert a == b


def note(found, start=0):
    """Write where they stand on batches of iterations from `start` on."""
    for t, micros in enumerate(found, start):
        for m, batch in enumerate(micros):
            assert batch.memo.setdefault("place", (t, m)) == (t, m), "a note of another batch"


def noted(found):
    return ["place" in batch.memo for micros in found for batch in micros]
