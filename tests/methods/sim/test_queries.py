"""SIM on Mask2Former's network: its view of objects, its losses, its training."""

import pytest
import torch

from tests.methods.scenes import batch, generator
from tests.methods.sim.test_training import assert_equal, logged, weights
from tests.methods.sim.toy import TOTAL, WARMUP, assert_follows, sim_recipe, train_sim, warmup_recipe
from wsis.declare.specs.parents import InitSpec
from wsis.errors import WsisError
from wsis.methods import build_method
from wsis.methods.sim.losses import pseudo_loss
from wsis.methods.sim.pseudo import label

HEAD = {"model__head": "mask2former"}


def sim(**over):
    torch.manual_seed(0)
    method = build_method(sim_recipe(**HEAD, sim__warmup=0, **over), 3).eval()
    method.begin()
    return method


def test_the_instance_map_is_the_query_s_mask_of_the_momentum_network():
    method, images = sim(), batch(3)
    with torch.no_grad():
        for p in method.network.head.parameters():  # predictions that differ from layer to layer
            p.add_(torch.randn_like(p) * 0.3)
        scene, slow = method.scene(images), method.momentum(images)
    matches = method.matches(images, scene)
    assert not torch.equal(matches.query[0], matches.query[-1])
    view = method.view(images)
    assert view.covered.all()
    for image, query, thing in zip(matches.image, matches.query[-1], matches.object[-1], strict=True):
        expected = slow.masks[-1][image, query].sigmoid()
        torch.testing.assert_close(view.instance(0.0)[thing], expected)
    assert torch.equal(view.instance(0.0), view.instance(5.0))
    norms = view.features.square().sum(1)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    torch.testing.assert_close(view.raw, slow.features)


def test_the_momentum_network_starts_as_a_copy_and_follows_slowly():
    method = sim(sim__ema=0.75)
    student, slow = [*method.network.parameters()], [*method.momentum.parameters()]
    assert_follows(method, student, slow, 0.75)
    assert not any(p.requires_grad for p in slow)
    assert not any(module.training for module in method.train().momentum.modules())


def test_the_pseudo_loss_is_that_of_every_prediction_added_up():
    method, images = sim(sim__lambda_pseudo=0.7), batch(3)
    with torch.no_grad():
        found = method.losses(images, generator())["loss_pseudo"]
        scene = method.scene(images)
    matches, view = method.matches(images, scene), method.view(images)
    maps = method.maps(view)
    labels = label(maps.corrected, maps.instance, view.rectangles, view.covered, method.spec)
    expected = 0.0
    for masks, query, objects in zip(scene.masks, matches.query, matches.object, strict=True):
        logits = masks[matches.image, query]
        expected += pseudo_loss(logits, labels.target[objects], labels.weight[objects], method.spec)
    assert labels.target.any()
    torch.testing.assert_close(found, 0.7 * expected, rtol=1e-4, atol=1e-6)


def test_pasted_objects_have_queries_and_a_loss_of_their_own():
    method = sim(sim__paste_probability=1.0).train()
    for step in range(3):
        losses = method.losses(batch(step), generator())
        method.on_step_end(step)
    assert losses["loss_paste"] > 0 and (method.prototypes.updates > 0).any()


def test_the_released_momentum_network_is_refused():
    """The variant of that name does without it, as its detector is made for CondInst."""
    assert sim(variant="released").spec.momentum == "copy"
    with pytest.raises(WsisError, match=r"sim\.momentum 'released' is the code's detector on CondInst"):
        sim(variant="released", sim__momentum="released")


def test_a_crash_and_a_resume_change_nothing_and_a_warm_up_is_continued(tmp_path):
    recipe = sim_recipe(**HEAD)
    train_sim(tmp_path / "whole", recipe)
    with pytest.raises(RuntimeError, match="crash"):
        train_sim(tmp_path / "crashed", recipe, every=2, stop_after=WARMUP + 3)
    train_sim(tmp_path / "crashed", recipe, every=2)
    assert_equal(weights(tmp_path / "crashed"), weights(tmp_path / "whole"))
    low = warmup_recipe()
    low = low.model_copy(update={"model": recipe.model})
    train_sim(tmp_path / "low", low)
    recipe = recipe.model_copy(update={"init": InitSpec(parent=low.id, iteration=WARMUP)})
    train_sim(tmp_path / "fork", recipe, parent=tmp_path / "low" / "model.safetensors")
    assert_equal(weights(tmp_path / "fork"), weights(tmp_path / "whole"))
    steps = [line["losses"] for line in logged(tmp_path / "whole")]
    assert (
        len(steps) == TOTAL and steps[-1]["loss_pseudo"] > 0 and sum(s["loss_paste"] > 0 for s in steps) > 2
    )
