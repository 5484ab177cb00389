"""One part of a network trained alone: what changes; notes that other runs left, which change nothing."""

import json
from typing import Any

import pytest
import torch

from tests.methods.baiseg import scenes as baiseg
from tests.methods.boxcaseg import scenes as boxcaseg
from tests.methods.scenes import batch, generator, recipe
from tests.methods.sim.toy import sim_recipe
from wsis.data.structures import BoxSample, Sample
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.schedule import build_optimizer
from wsis.methods import build_method

CONDINST = ("mask_branch.", "head.controller.")
MASKS = {
    "condinst": CONDINST,
    "boxinst": CONDINST,
    "sim": (*CONDINST, "momentum.", "prototypes."),
    "mask_rcnn": ("roi_heads.mask_head.", "roi_heads.mask_predictor."),
    "boxcaseg": ("weak.", "salient.", "transferred."),
    "baiseg": ("boundary.", "projection."),
}
# A run that may have left its notes on a batch, and whose masks' part is another one.
BEFORE = {
    "condinst": "boxinst",
    "boxinst": "sim",
    "sim": "boxinst",
    "mask_rcnn": "mask_rcnn",
    "boxcaseg": "boxcaseg",
    "baiseg": "baiseg",
}
ALL = pytest.mark.parametrize("name", list(MASKS))


def spec(name: str, trained: str = "masks") -> Recipe:
    match name:
        case "sim":
            plain = sim_recipe(sim__warmup=0, sim__paste_probability=1.0)
        case "boxcaseg":
            plain = boxcaseg.recipe()
        case "baiseg":
            plain = baiseg.recipe(contrast_warmup=0, threshold=0.3)
        case "boxinst":
            plain = recipe(method=name)
        case _:
            plain = recipe(method=name, data__supervision="masks")
    start = {"parent": "base"} if trained == "masks" else None
    over = {"model.trained": trained, "init": start, "predict.score": 0.0}
    return Recipe.model_validate(merged(plain.model_dump(mode="json"), over), strict=False)


def build(name: str, trained: str = "masks", base: int = 0, own: int = 0) -> torch.nn.Module:
    """A network whose base's weights are drawn from the seed `base`, the others from `own`; in training."""
    torch.manual_seed(own)
    net = build_method(spec(name, trained), 3)
    donor = "boxinst" if name in ("condinst", "sim") else name
    torch.manual_seed(1000 + base)
    state = build_method(spec(donor), 3).state_dict()
    with torch.no_grad():
        for key in state:  # statistics as after some training
            if key.endswith("running_mean"):
                state[key].uniform_(-0.1, 0.1)
    net.load_state_dict({key: v for key, v in state.items() if not _makes_masks(name, key)}, strict=False)
    net.begin()
    return net.train()


def images(name: str, seed: int = 0) -> Any:
    """A training batch of the method."""
    if name == "boxcaseg":
        return boxcaseg.batch(seed=seed)
    if name == "baiseg":
        return baiseg.batch_of(baiseg.scene(seed), baiseg.scene(seed + 1))
    return batch(seed, masks=None if name in ("boxinst", "sim") else "all")


def samples(name: str) -> list[Any]:
    """Three images to predict, new ones at every call."""
    if name == "baiseg":
        return [baiseg.sample(baiseg.scene(seed), seed=seed) for seed in range(3)]
    g = torch.Generator().manual_seed(5)
    pixels = [torch.randint(0, 256, (3, 64, width), generator=g).to(torch.uint8) for width in (64, 48, 64)]
    if name == "boxcaseg":
        boxes = torch.tensor([[4.0, 6, 30, 40], [10, 10, 22, 60]])
        labels = torch.zeros(2, dtype=torch.int64)
        return [BoxSample(image, boxes, labels, [2 * n, 2 * n + 1], n) for n, image in enumerate(pixels)]
    return [Sample(image, tuple(image.shape[1:]), n) for n, image in enumerate(pixels)]


def _makes_masks(name: str, key: str) -> bool:
    return key.startswith(MASKS[name]) or key == "iteration"


def snapshot(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in net.state_dict().items()}


def changed(before: dict[str, torch.Tensor], net: torch.nn.Module) -> set[str]:
    return {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}


def steps(net: torch.nn.Module, name: str, count: int = 2) -> set[str]:
    """Train for some steps; returns the names of weights and buffers that have changed."""
    before = snapshot(net)
    schedule = ScheduleSpec(optimizer="sgd", lr=0.05, weight_decay=0.1)  # what decays needs no gradient
    optimizer = build_optimizer(net, schedule)
    for t in range(count):
        sum(net.losses(images(name, t), torch.Generator().manual_seed(t)).values()).backward()
        optimizer.step()
        net.on_step_end(t)
    return changed(before, net)


@ALL
def test_masks_trained_alone_leave_the_base_as_it_is(name):
    net = build(name)
    found = steps(net, name)
    strangers = {key for key in found if not _makes_masks(name, key)}
    assert not strangers, "weights or statistics of the base moved"
    weights = {key for key, p in net.named_parameters() if p.requires_grad}
    assert weights and weights <= found and all(_makes_masks(name, key) for key in weights)
    assert all(p.grad is None for key, p in net.named_parameters() if not _makes_masks(name, key))
    norms = {key: module for key, module in net.named_modules() if isinstance(module, torch.nn.BatchNorm2d)}
    assert norms and not any(module.training for key, module in norms.items() if not _makes_masks(name, key))
    assert all(module.training for key, module in norms.items() if key.startswith(MASKS[name][:2]))


@pytest.mark.parametrize("name", ["condinst", "boxinst", "mask_rcnn", "baiseg"])
def test_a_base_trained_alone_leaves_the_masks_part_as_it_is(name):
    net = build(name, "base")
    found = steps(net, name)
    assert not {key for key in found if _makes_masks(name, key)} - {"iteration"}
    assert all(p.grad is None for key, p in net.named_parameters() if _makes_masks(name, key))
    weights = {key for key, p in net.named_parameters() if p.requires_grad}
    assert weights and weights <= found
    statistics = {key for key in net.state_dict() if key.endswith("running_mean")}
    assert {key for key in statistics if not _makes_masks(name, key)} <= found


@pytest.mark.parametrize("name", ["condinst", "boxinst", "mask_rcnn", "baiseg"])
def test_a_base_is_trained_without_a_loss_on_masks_whatever_masks_there_are(name):
    base, whole = build(name, "base"), build(name, "all")
    parts, all_of_them = (net.losses(images(name), generator()) for net in (base, whole))
    assert parts and parts.keys() < all_of_them.keys()
    assert all(torch.equal(value, all_of_them[key]) for key, value in parts.items())
    rest = build(name).losses(images(name), generator())
    assert rest.keys() == all_of_them.keys() - parts.keys()


# Keys: bases that say the same


def test_methods_on_one_detector_have_one_key_and_other_detectors_others():
    nets = [build(name, own=own) for own, name in enumerate(("boxinst", "condinst", "sim"))]
    assert len({net.base_key() for net in nets}) == 1
    assert len({net.key() for net in nets}) == 3
    assert build("boxinst", base=1).base_key() != nets[0].base_key()


@ALL
def test_the_key_changes_with_every_weight_of_the_base_and_with_no_other(name):
    net = build(name)
    key, state = net.base_key(), snapshot(net)
    for entry, value in state.items():
        net.load_state_dict({entry: value + 1}, strict=False)
        assert (net.base_key() == key) == _makes_masks(name, entry), entry
        net.load_state_dict({entry: value}, strict=False)
    assert net.base_key() == key
    steps(net, name, 1)
    assert net.base_key() == key


def test_the_key_of_all_weights_is_computed_once_while_they_stay(monkeypatch):
    """A fused optimiser changes them unseen by torch's versions."""
    net, computed = build("baiseg").eval(), []
    digest = net._digest
    monkeypatch.setattr(net, "_digest", lambda chosen: computed.append(1) or digest(chosen))
    first = net.key()
    assert net.key() == first and len(computed) == 1
    net.train()
    trained = [p for p in net.parameters() if p.requires_grad]
    for p in trained:
        p.grad = torch.ones_like(p)
    torch.optim.SGD(trained, lr=0.1, fused=True).step()
    second = net.eval().key()
    assert second != first and net.key() == second and len(computed) == 2
    with torch.no_grad():
        trained[0].add_(1)
    third = net.key()
    assert third not in (first, second)
    state = {name: value + 1 for name, value in net.state_dict().items()}
    net.load_state_dict(state)
    assert net.key() not in (first, second, third)


# Notes: what earlier runs computed of the same images


def outcome(net: torch.nn.Module, scene: Any) -> dict[str, torch.Tensor]:
    """Losses of a batch and every gradient, by name."""
    net.zero_grad()
    losses = net.losses(scene, generator())
    sum(losses.values()).backward()
    gradients = {key: p.grad.clone() for key, p in net.named_parameters() if p.grad is not None}
    return {key: value.detach() for key, value in losses.items()} | gradients


def prepared(name: str, **seeds: int) -> torch.nn.Module:
    """As `build`; SIM's bank is full, so that it pastes."""
    net = build(name, **seeds)
    if name == "sim":
        with torch.no_grad():
            for seed in range(10, 14):
                net.losses(images(name, seed), generator())
                net.on_step_end(seed)
        assert net.bank.full
    return net


def refuse(*_: Any) -> None:
    raise AssertionError("the base was asked again")


@ALL
def test_a_batch_that_another_run_has_seen_gives_the_same_losses_and_gradients(name):
    cold = outcome(prepared(name), images(name))
    first = BEFORE[name]
    seen = images(first)
    outcome(prepared(first, own=7), seen)
    noted = len(seen.memo)
    warm = images(name)
    warm.memo = seen.memo
    net = prepared(name)
    if name != "sim":  # which looks again at images that it pastes onto
        getattr(net, "pyramid", None) and setattr(net.pyramid, "forward", refuse)
        getattr(net, "backbone", None) and setattr(net.backbone, "forward", refuse)
    found = outcome(net, warm)
    assert noted and found.keys() == cold.keys()
    assert all(torch.equal(value, cold[key]) for key, value in found.items())
    again = outcome(prepared(name), warm)
    assert all(torch.equal(value, cold[key]) for key, value in again.items()), "the notes were changed"
    if name == "sim":
        assert cold["loss_paste"] > 0


@ALL
def test_notes_of_another_base_are_not_taken(name):
    cold = outcome(prepared(name), images(name))
    seen = images(BEFORE[name])
    outcome(prepared(BEFORE[name], base=1), seen)
    warm = images(name)
    warm.memo = seen.memo
    found = outcome(prepared(name), warm)
    assert all(torch.equal(value, cold[key]) for key, value in found.items())


@ALL
def test_a_step_leaves_the_batch_and_its_annotation_as_they_were(name):
    """Batches are kept for the runs to come."""
    scene, untouched = images(name), images(name)
    outcome(prepared(name), scene)
    assert _tensors(scene) and len(_tensors(scene)) == len(_tensors(untouched))
    assert all(torch.equal(a, b) for a, b in zip(_tensors(scene), _tensors(untouched), strict=True))


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, list):
        return [tensor for item in value for tensor in _tensors(item)]
    if hasattr(value, "__dict__"):
        return [t for key, item in vars(value).items() if key != "memo" for t in _tensors(item)]
    return []


def told(net: torch.nn.Module, given: list[Any]) -> str:
    """All that a network predicts, as text."""
    with torch.no_grad():
        if isinstance(given[0], BoxSample):
            return str([[(m.rle, m.certainty) for m in masks] for masks in net.fill(given)])
        found = net.predict(given)
    return str([(f.boxes.tolist(), f.labels.tolist(), f.scores.tolist(), f.masks) for f in found])


@ALL
def test_images_that_another_run_has_seen_get_the_same_predictions(name):
    net, before = build(name).eval(), build(BEFORE[name], own=7).eval()
    cold = told(net, samples(name))
    assert "counts" in cold
    seen = samples(name)
    other = told(before, seen)
    assert any(sample.memo for sample in seen) and other != cold
    assert told(net, seen) == cold and told(net, seen) == cold
    assert told(build(name, base=1).eval(), seen) == told(build(name, base=1).eval(), samples(name)) != cold


@ALL
def test_a_frozen_network_predicts_as_one_with_the_same_weights_that_is_not(name):
    frozen = build(name).eval()
    free = build(name, "all").eval()
    common = {key: v for key, v in frozen.state_dict().items() if key in free.state_dict()}
    free.load_state_dict(common, strict=False)
    assert told(free, samples(name)) == told(frozen, samples(name))


def test_boxes_in_place_of_masks_are_read_from_the_same_detections():
    """Readings that differ in `predict.masks` share what the detector sees."""
    tree = json.loads(spec("boxinst").model_dump_json())
    reading = Recipe.model_validate(merged(tree, {"predict.masks": "boxes"}), strict=False)
    net, boxes = build("boxinst").eval(), build_method(reading, 3).eval()
    boxes.load_state_dict(net.state_dict())
    given = samples("boxinst")
    told(net, given)
    boxes.pyramid.forward = refuse
    assert told(boxes, given) != told(net, given)


@pytest.mark.parametrize("name", ["boxinst", "mask_rcnn"])
def test_detections_under_other_settings_are_not_taken(name):
    tree = json.loads(spec(name).model_dump_json())
    fewer = Recipe.model_validate(merged(tree, {"predict.detections": 1}), strict=False)
    net, other = build(name).eval(), build_method(fewer, 3).eval()
    other.load_state_dict(net.state_dict())
    given = samples(name)
    told(net, given)
    assert told(other, given) == told(other, samples(name)) != told(net, given)
