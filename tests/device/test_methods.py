"""Every method on the simulated accelerator: the CPU's numbers, and how often a step waits for the device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods import scenes
from tests.methods.baiseg import scenes as crops
from tests.methods.boxcaseg import scenes as patches
from tests.methods.ocrnet import scenes as regions
from tests.methods.sim.toy import sim_recipe
from wsis.bench.simulated import DEVICE, Counts, OnDevice, simulated, values_of
from wsis.data.structures import BoxSample, Sample
from wsis.declare.recipe import Recipe
from wsis.engine.schedule import build_optimizer
from wsis.engine.shards import give_totals
from wsis.methods import build_method

ONE = {"loss__proposals": "one", "loss__max_proposals": 1}
TOPK = {"loss__proposals": "topk", "loss__max_proposals": 8}
FULL = {"method": "condinst", "data__supervision": "masks"}
FULL |= {"loss": {"full": "dice", "projection": False, "pairwise": None}}
REGIONS = {"model__head": "mask_rcnn", "loss": {"projection": False, "pairwise": None}}
QUERIES = {"model__head": "mask2former"}
BUSY = {"sim__warmup": 0, "sim__tau_low": 0.5, "sim__tau_high": 0.5, "sim__bank": 2, "sim__pixel_cap": 64}
SCENES: dict[str, tuple[Callable[[], Recipe], str | None]] = {
    "condinst": (lambda: scenes.recipe(**FULL, **ONE), "all"),
    "boxinst": (lambda: scenes.recipe(**ONE), None),
    "boxinst, released": (lambda: scenes.recipe(variant="released", **TOPK), None),
    "boxinst, some masks": (
        lambda: scenes.recipe(data__supervision="masks-voc", loss__full="proposed", **ONE), "some"
    ),
    "sim": (lambda: sim_recipe(**BUSY, **ONE), None),
    "sim, released": (lambda: sim_recipe(variant="released", **BUSY, **TOPK), None),
    "mask2former": (lambda: scenes.recipe(**QUERIES), None),
    "mask2former, sim": (lambda: sim_recipe(**BUSY, **QUERIES), None),
    "mask_rcnn": (lambda: scenes.recipe(method="mask_rcnn", data__supervision="masks", **REGIONS), "some"),
    "bbtp": (lambda: scenes.recipe(method="bbtp", **REGIONS), None),
    "bbtp, salient": (
        lambda: scenes.recipe(method="bbtp", data__supervision="boxes+salient", **REGIONS), "salient"
    ),
}  # fmt: skip
STEPS = 3
# transformers copies the levels' sizes once, and in each layer of the encoder, of which there is one here.
LIBRARY_WAITS = {"mask2former": 2, "mask2former, sim": 4}
MOST = 5  # waits of a step, whatever the number of images
FEW = {"boxcaseg": 0, "baiseg": 3}  # waits of a prediction: BAISeg's are the weights' digest and its two maps


def method_and_batches(name: str, images: int) -> tuple[nn.Module, list[Any]]:
    """A method with its first weights, and a batch a step."""
    torch.manual_seed(0)
    if name == "boxcaseg":
        built = patches.network()
        batches = [patches.batch(images // 2, images // 2, seed=t) for t in range(STEPS)]
    elif name in ("baiseg", "ocrnet"):
        own = crops.past_warmup(crops.network(threshold=0.5, samples=4 * images))
        built = own if name == "baiseg" else regions.network()
        batches = [
            crops.batch_of(*(crops.scene(images * t + i) for i in range(images))) for t in range(STEPS)
        ]
    else:
        recipe, masks = SCENES[name][0](), SCENES[name][1]
        built = build_method(recipe, 3)
        batches = [scenes.batch(t, images=images, masks=masks) for t in range(STEPS)]
    built.begin()
    return built.train(), batches


def train(method: nn.Module, batches: list[Any], device: torch.device, counts: Counts | None = None) -> list:
    """Losses of each step; gradients, weights and buffers after the last one, whose counts are kept."""
    scaler = torch.amp.GradScaler("cpu", enabled=False)  # with one, the optimiser is not fused
    optimizer = build_optimizer(method, method.recipe.schedule, scaler)
    found = []
    for t, batch in enumerate(batches):
        if counts is not None:
            counts.clear()
        losses = method.losses(batch.to(device), torch.Generator().manual_seed(t))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 5.0)
        optimizer.step()
        method.on_step_end(t)
        found.append({name: values_of(loss.detach()) for name, loss in losses.items()})
    gradients = {n: values_of(p.grad) for n, p in method.named_parameters() if p.grad is not None}
    return [*found, gradients, {n: values_of(value) for n, value in method.state_dict().items()}]


ALL = [*SCENES, "boxcaseg", "baiseg", "ocrnet"]


@pytest.fixture(autouse=True)
def _any_order_of_sums():
    """As on a card. A training before may have asked torch for deterministic sums. It then enlarges maps on
    devices by another formula, whose rounding small networks with batch norm raise to any size.
    """
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(before, warn_only=True)


@pytest.mark.parametrize("name", ALL)
def test_a_training_has_the_cpu_s_numbers_and_hardly_waits(name):
    """Losses, gradients, weights and buffers are equal; a step's waits don't grow with the images."""
    numbers = []
    for images in (2, 8):
        method, batches = method_and_batches(name, images)
        expected = train(copy.deepcopy(method), batches, torch.device("cpu"))
        with simulated() as counts:
            found = train(method.to(DEVICE), batches, DEVICE, counts)
        for one, other in zip(expected, found, strict=True):
            assert one.keys() == other.keys()
            for key, value in one.items():
                torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-6, msg=key)
        assert all(isinstance(x, OnDevice) for x in (*method.parameters(), *method.buffers()))
        numbers.append(counts.waits_of(library=False))
        told = [
            f"{cause.line} {kind}" for cause, kind in (*counts.waits, *counts.host_data) if not cause.library
        ]
        assert numbers[-1] <= MOST, told
        if not name.startswith(("mask_rcnn", "bbtp")):
            assert counts.waits_of(library=True) == LIBRARY_WAITS.get(name, 0), counts
    assert numbers[0] == numbers[1], told


@pytest.mark.parametrize("name", ALL)
def test_totals_of_a_split_batch_are_the_cpu_s_and_nothing_waits(name):
    """Two parts of a batch, whose losses are divided by what both have."""
    method, parts = method_and_batches(name, 2)
    loss = method.recipe.loss.model_copy(update={"normalise": "batch"})
    method.recipe = method.recipe.model_copy(update={"loss": loss})

    def losses(method: nn.Module, device: torch.device, counts: Counts | None = None) -> list[Any]:
        shards = [part.to(device) for part in parts[:2]]
        give_totals(shards, [method.totals(shard, torch.Generator().manual_seed(0)) for shard in shards], 1)
        waits = counts and counts.waits_of(library=False)
        found = [method.losses(shard, torch.Generator().manual_seed(0)) for shard in shards]
        return [{name: values_of(loss.detach()) for name, loss in each.items()} for each in found] + [waits]

    *expected, _ = losses(copy.deepcopy(method), torch.device("cpu"))
    with simulated() as counts:
        *found, waits = losses(method.to(DEVICE), DEVICE, counts)
    assert waits == 0, counts
    for one, other in zip(expected, found, strict=True):
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], rtol=1e-4, atol=1e-6, msg=key)


def samples(name: str) -> list[Any]:
    """Two images as a method predicts them."""
    if name in ("baiseg", "ocrnet"):
        return [crops.sample(crops.scene(seed, 64), seed=seed) for seed in range(2)]
    images = scenes.batch(7).images
    if name == "boxcaseg":
        boxes, labels = torch.tensor([[4.0, 6, 30, 40], [20, 20, 60, 50]]), torch.tensor([0, 1])
        return [BoxSample(image, boxes, labels, [1, 2], id) for id, image in enumerate(images)]
    return [Sample(image, (80, 96), id) for id, image in enumerate(images)]


@pytest.mark.parametrize("name", [name for name in ALL if "," not in name])
def test_predictions_and_proxies_are_the_cpu_s(name):
    """Of detectors the detections, of BoxCaseg the masks of given boxes, which are proxies."""
    method, batches = method_and_batches(name, 2)
    predict = method.recipe.predict.model_copy(update={"score": 0.0, "detections": 5})
    method.recipe = method.recipe.model_copy(update={"predict": predict})
    if hasattr(method, "roi_heads"):
        method.roi_heads.score_thresh, method.roi_heads.detections_per_img = 0.0, 5
    method.losses(batches[0], torch.Generator().manual_seed(0))  # batch norm sees something
    method.eval()
    with torch.no_grad():
        expected = method.predict(samples(name))
        with simulated() as counts:
            found = method.to(DEVICE).predict(samples(name))
    if name in FEW:
        assert counts.waits_of(library=False) == FEW[name], counts
    assert sum(len(of_image.masks) for of_image in expected) > 0
    for one, other in zip(expected, found, strict=True):
        assert one.masks == other.masks
        for part in ("boxes", "labels", "scores"):
            value = getattr(other, part)
            assert not isinstance(value, OnDevice)
            torch.testing.assert_close(getattr(one, part), value, rtol=1e-4, atol=1e-6)


def test_measures_of_pseudo_masks_are_the_cpu_s():
    """What `wsis measure` finds of the momentum network, its maps and labels."""
    from wsis.methods.sim.quality import _Scores

    method, batches = method_and_batches("sim", 2)
    batch = scenes.batch(9, masks="all")
    method.losses(batches[0], torch.Generator().manual_seed(0))
    method.on_step_end(0)
    method.eval()

    def measured() -> dict[str, Any]:
        spec = method.spec
        scores = _Scores([spec], _Prototypes(method.prototypes))
        there = batch.to(method.iteration.device)
        scores.add(there, method.view(there), method.layout.out_stride)
        return scores.result(spec)

    expected = measured()
    with simulated():
        method.to(DEVICE)
        found = measured()
    assert repr(found) == repr(expected) and found["instance"]["all"]["objects"] > 0


class _Prototypes(dict):
    """The same prototypes under every key."""

    def __init__(self, prototypes: nn.Module) -> None:
        super().__init__()
        self.prototypes = prototypes

    def __getitem__(self, key: Any) -> nn.Module:
        return self.prototypes
