"""One step of each method on a batch of four: at once, in two accumulation steps, or by two processes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.methods import scenes
from tests.methods.baiseg import scenes as crops
from tests.methods.boxcaseg import scenes as patches
from tests.methods.sim.toy import sim_recipe
from wsis.data.loading import Shard
from wsis.data.structures import Batch
from wsis.declare.recipe import Recipe
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.engine.train import TrainOptions, train
from wsis.methods import build_method
from wsis.methods.base import Method
from wsis.methods.bbtp import heads
from wsis.methods.bbtp.method import BBTP
from wsis.methods.parts import NORM, Parts
from wsis.methods.sim.bank import entries
from wsis.methods.sim.method import SIM
from wsis.methods.sim.paste import Composite, compose
from wsis.methods.weights import load_model

RATE = 100.0  # so large that the weights' rounding does not hide the gradient
STEP = {
    "optimizer": "sgd", "momentum": 0, "weight_decay": 0, "batch": 4, "devices": 1, "milestones": (),
    "warmup": 0,
}  # fmt: skip
QUERIES = {"model__head": "mask2former"}
UNUSED = {"loss": {"projection": False, "pairwise": None}}
FULL = {"loss": {"full": "dice", "projection": False, "pairwise": None}, "data__supervision": "masks"}


def detected(masks: str | None) -> list[Any]:
    """Four images with 1, 2, 3 and 5 objects."""
    return [scenes.batch(seed, 1, objects, masks) for seed, objects in enumerate((1, 2, 3, 5))]


def mapped() -> list[Any]:
    """Four crops; one has no valid pixel and one is void by half."""
    maps = [crops.scene(seed) for seed in range(4)]
    maps[0][:] = crops.VOID
    maps[2][:24] = crops.VOID
    return [crops.batch_of(each) for each in maps]


def patched(*weak: int) -> list[Any]:
    """A patch each, with a box (1) or a salient object (0)."""
    return [patches.batch(box, 1 - box, seed=seed) for seed, box in enumerate(weak)]


def by_device(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"loss": recipe.loss.model_copy(update={"normalise": "device"})})


def paste_alike(method: SIM) -> None:
    """A full bank, the same in every process, and draws that depend on an image alone, not on its part."""
    source, stride = scenes.batch(9, 2, 3), method.layout.out_stride
    cells = torch.zeros(6, *(side // stride for side in source.images.shape[-2:]), dtype=torch.bool)
    boxes = torch.cat([target.boxes for target in source.targets]).int().tolist()
    for mask, (x0, y0, x1, y1) in zip(cells, boxes, strict=True):
        mask[y0 // stride : y1 // stride, x0 // stride : x1 // stride] = True
    for entry in entries(source, cells, torch.ones(6), torch.zeros(2, dtype=torch.bool), stride, method.spec):
        method.bank.push(entry)
    assert method.bank.full

    def composite(batch: Batch, generator: torch.Generator) -> tuple[Composite, torch.Generator]:
        parts = []
        for i, target in enumerate(batch.targets):
            one = slice(i, i + 1)
            alone = replace(batch, images=batch.images[one], targets=[target], ids=batch.ids[one])
            draws = torch.Generator().manual_seed(int(alone.images.sum()))
            parts.append(compose(alone, method.bank, method.spec, stride, draws))
        whole = replace(
            batch,
            images=torch.cat([part.batch.images for part in parts]),
            targets=[part.batch.targets[0] for part in parts],
        )
        of_objects = ([part.pasted[0] for part in parts], [part.masks[0] for part in parts])
        return Composite(whole, *of_objects, torch.cat([part.touched for part in parts])), generator

    method._composite = composite


def without_draws(method: BBTP) -> None:
    """All anchors and as many proposals of each image; the objects' own boxes."""
    for part in (method.rpn, method.roi_heads):
        part.fg_bg_sampler.batch_size_per_image = 10**6
    method.rpn._post_nms_top_n = {"training": 8, "testing": 8}
    heads.around = lambda boxes, generator: boxes


def as_it_is(method: Method) -> None:
    pass


@dataclass(frozen=True)
class Case:
    """A method's recipe, the parts of its batch, of one image each, and what prepares it once it is built."""

    recipe: Callable[[], Recipe]
    parts: Callable[[], list[Any]]
    prepare: Callable[[Any], None] = as_it_is


CASES = {
    "condinst": Case(lambda: scenes.recipe(method="condinst", **FULL), lambda: detected("all")),
    "boxinst": Case(lambda: scenes.recipe(), lambda: detected(None)),
    "boxinst, edges pooled": Case(
        lambda: scenes.recipe(variant="released", loss__normalise="batch", loss__max_proposals=10000),
        lambda: detected(None),
    ),
    "boxinst, some masks": Case(
        lambda: scenes.recipe(data__supervision="masks-voc", loss__full="proposed"), lambda: detected("some")
    ),
    "sim": Case(lambda: sim_recipe(sim__warmup=0, sim__lambda_paste=0), lambda: detected(None)),
    "sim, pasting": Case(
        lambda: sim_recipe(sim__warmup=0, sim__paste_probability=0.7), lambda: detected(None), paste_alike
    ),
    "mask2former": Case(lambda: scenes.recipe(**QUERIES), lambda: detected(None)),
    "mask2former, edges pooled": Case(
        lambda: scenes.recipe(variant="released", loss__normalise="batch", **QUERIES), lambda: detected(None)
    ),
    "mask2former, sim": Case(
        lambda: sim_recipe(sim__warmup=0, sim__lambda_paste=0, **QUERIES), lambda: detected(None)
    ),
    "boxcaseg": Case(lambda: patches.recipe(), lambda: patched(1, 0, 1, 1)),
    "boxcaseg, by device": Case(lambda: by_device(patches.recipe()), lambda: patched(1, 0, 1, 1)),
    "boxcaseg, fixed ratio": Case(lambda: patches.recipe(ratio="8:8"), lambda: patched(1, 0, 1, 0)),
    "baiseg": Case(lambda: crops.recipe(ppc=False, hardest=1.0), mapped),
    "baiseg, contrast and hardest": Case(lambda: crops.recipe(contrast_warmup=0), mapped),
    "bbtp, salient": Case(
        lambda: scenes.recipe(
            method="bbtp", model__head="mask_rcnn", data__supervision="boxes+salient", **UNUSED
        ),
        lambda: [
            scenes.empty(detected(None)[0]),
            *(scenes.batch(seed, 1, 1, "salient") for seed in range(3)),
        ],
        without_draws,
    ),
    "mask_rcnn": Case(
        lambda: scenes.recipe(method="mask_rcnn", model__head="mask_rcnn", **FULL), lambda: detected("all")
    ),
}


def joined(parts: list[Any]) -> Any:
    """Batches as one, in their order."""
    whole: dict[str, Any] = {}
    for part in fields(parts[0]):
        values = [getattr(each, part.name) for each in parts]
        if isinstance(values[0], Tensor):
            whole[part.name] = torch.cat(values)
        elif isinstance(values[0], list):
            whole[part.name] = [item for value in values for item in value]
    return type(parts[0])(**whole)


@dataclass(frozen=True)
class Way:
    """How the batch is computed.

    images: at once on a device; norm: "frozen" (batch norm keeps its statistics), "live" or "sync"
    steps:  1, from which the gradient is known, or more with a usual learning rate
    """

    devices: int = 1
    images: int = 4
    norm: str = "frozen"
    steps: int = 1


def training(folder: Path, name: str, way: Way) -> dict:
    """Train a method on its batch; returns what train.json says."""
    set_threads(1)
    case = CASES[name]
    recipe = case.recipe()
    over = STEP | {"lr": RATE if way.steps == 1 else 0.01, "iterations": way.steps}
    over |= {"sync_norm": way.norm == "sync"}
    tree = recipe.model_dump()
    recipe = Recipe.model_validate({**tree, "schedule": tree["schedule"] | over}, strict=False).settled()
    torch.manual_seed(0)
    method = build_method(recipe, 3)
    case.prepare(method)
    if way.norm == "frozen":
        keep_statistics(method)

    def stream(shard: Shard) -> Iterator[list[Any]]:
        size = 4 // (shard.world * shard.micro)
        places = [(m * shard.world + shard.rank) * size for m in range(shard.micro)]
        while True:
            parts = case.parts()
            yield [joined(parts[place : place + size]) for place in places]

    fabric = make_fabric(recipe.schedule, "cpu", range(way.devices), method.idle)
    options = TrainOptions(way.images, progress=False)
    return train(recipe, method, stream, folder, fabric, None, options)


def keep_statistics(method: Parts) -> None:
    """Batch norm computes with the statistics that it has, in training, too."""
    for module in method.modules():
        if isinstance(module, NORM):
            module.eval()
            module.train = lambda mode=True, module=module: module


@dataclass
class Outcome:
    """Of a training: the gradient as one vector (after one step), batch norm's statistics.

    losses: of each step; said: what train.json says
    """

    gradient: Tensor
    statistics: Tensor
    losses: list[dict[str, float]]
    said: dict

    def away(self, other: Outcome) -> float:
        """The relative difference of the gradients."""
        return float((self.gradient - other.gradient).norm() / other.gradient.norm())


def outcome(folder: Path, name: str, way: Way = Way()) -> Outcome:
    """`training` in processes of its own."""
    said = launch(training, (folder, name, way), way.devices, "fork")
    torch.manual_seed(0)
    before = build_method(CASES[name].recipe(), 3)
    after = load_model(folder / "model.safetensors")["model"]
    apart = [(after[key] - value.detach()).flatten() / RATE for key, value in before.named_parameters()]
    norms = [after[key].flatten() for key in after if key.endswith(("running_mean", "running_var"))]
    losses = [json.loads(line)["losses"] for line in (folder / "log.jsonl").read_text().splitlines()]
    return Outcome(torch.cat(apart), torch.cat([torch.zeros(0), *norms]), losses, said)
