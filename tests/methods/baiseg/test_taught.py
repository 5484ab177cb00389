"""Semantic maps of a network of the plan as what a row learns from: planned, made, and read again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from tests.methods.baiseg.semantic_streams import baiseg, take
from wsis.data.roots import open_root
from wsis.declare.specs.parents import ProxySpec
from wsis.errors import WsisError
from wsis.methods.baiseg.batches import training_maps, training_samples
from wsis.plan import make_plan

ROW = "baiseg/1", "BAISeg (OCRNet)"


def taught_root(shapes, change=lambda maps: maps):
    """A root whose pictures have maps of another network, and those maps by image id."""
    recipe = baiseg(own={"train_semantics": "ocrnet", "maps": "trained"}, short_side=(96,), augment="none")
    recipe = recipe.model_copy(update={"proxy": ProxySpec(parent="ocrnet-0", instances=True)})
    plain = open_root(recipe, shapes)
    rng = np.random.default_rng(3)
    maps = {p.id: rng.integers(0, 4, (p.height, p.width)).astype(np.uint8) for p in plain.train}
    regions = {
        id: [
            {"category_id": category, "rle": rle.encode(np.asfortranarray(semantic == label + 1))}
            for label, category in enumerate(plain.category_ids)
        ]
        for id, semantic in change(maps).items()
    }
    return recipe, open_root(recipe, shapes, regions), maps


def test_what_is_learnt_is_what_the_network_said(shapes):
    recipe, root, maps = taught_root(shapes)
    assert len(root.train) == 60 and not any(picture.instances for picture in root.train)
    for picture, sample in zip(root.train, training_samples(recipe, root, root.train), strict=True):
        assert np.array_equal(sample.semantic, maps[picture.id])
    recipe = recipe.model_copy(update={"baiseg": recipe.baiseg.model_copy(update={"crop": 96})})
    (batch,) = take(1, recipe, root)[0]
    for id, semantic in zip(batch.ids, batch.semantic, strict=True):
        assert torch.equal(semantic, torch.from_numpy(maps[id]))


def test_an_image_that_the_network_says_nothing_of_is_background(shapes):
    recipe, root, _ = taught_root(shapes, lambda maps: {id: np.zeros_like(m) for id, m in maps.items()})
    assert len(root.train) == 60
    assert not training_maps(recipe, root).read(root.train[0]).any()


def test_an_image_that_it_has_not_seen_is_named(shapes):
    recipe, root, _ = taught_root(shapes, lambda maps: dict(list(maps.items())[1:]))
    with pytest.raises(WsisError, match=r"1\.png: no semantic map by the network that is learnt from"):
        training_maps(recipe, root).read(root.train[0])


@pytest.mark.parametrize("scale", ["smoke", "mini", "paper"])
def test_the_row_needs_no_file_from_outside(scale):
    plan = make_plan(scale)
    for seed, id in plan.row_runs(*ROW).items():
        recipe = plan.runs[id].recipe
        teacher = plan.runs[recipe.proxy.parent]
        assert plan.runs[id].needs == (teacher.id,) and plan.with_needed([id]) == [teacher.id, id]
        assert (teacher.recipe.method, teacher.seed, recipe.seed) == ("ocrnet", seed, seed)
        same = {"dataset", "train", "eval", "shapes", "supervision"}
        assert teacher.recipe.data.model_dump(include=same) == recipe.data.model_dump(include=same)
        assert not [line for line in plan.runs[id].deviations if line.startswith(("proxy", "baiseg.maps"))]


def test_maps_of_ones_own_go_first_and_change_no_other_row():
    usual, given = make_plan("paper"), make_plan("paper", overrides={"baiseg.maps": "given"})
    (id,) = given.row_runs(*ROW).values()
    assert id == "baiseg-99964f8b17" and not given.runs[id].needs
    assert {*usual.runs} - {*given.runs} == {*usual.with_needed([*usual.row_runs(*ROW).values()])}
    assert {*given.runs} - {*usual.runs} == {id}
