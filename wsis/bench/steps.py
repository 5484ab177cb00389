"""`wsis bench step`: seconds a training image of each method on each backbone, on this machine's device.

A scale on real images declares such costs for a device that it names. What is measured here takes their
place in `wsis plan` and in the workflow's time limits (wsis.declare.measured). A step holds as many images as
a device of the paper's did; reading them, both passes and the optimiser are in it, other devices are not.
Weights are random: they take no other time, and none have to be there.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from wsis.bench.memory import now
from wsis.bench.untaught import annotated_maps, untaught
from wsis.data.loading import Shard
from wsis.data.places import Roots, run_root, salient_place
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.data.shapes.write import write_shapes
from wsis.declare.measured import Measured
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import ShapesSpec
from wsis.engine.launch import device_name, make_fabric
from wsis.engine.schedule import build_optimizer
from wsis.engine.seeding import seed_process
from wsis.engine.step import Item, Losses, batches
from wsis.errors import WsisError
from wsis.methods import build_method
from wsis.plan import Plan

IMAGES, SIDE = 16, 640  # of the drawn root: images, pixels
WARM = 2  # steps before those that are timed


@dataclass(frozen=True)
class Options:
    """steps: that are timed; data_root: the user's images, None to draw some, which are square."""

    accelerator: str
    steps: int = 10
    data_root: Roots = None


def measure(plan: Plan, tables: Sequence[str], options: Options) -> Measured:
    """Measure every method and backbone that trains for these tables; WsisError where there is none."""
    if plan.scale.cost.seconds_per_image is None:
        raise WsisError(f"scale {plan.scale.name} counts in units of this machine: wsis bench calibrate")
    kinds: dict[str, Recipe] = {}
    for run in (plan.runs[id] for id in plan.with_needed(plan.wanted(tables))):
        if run.iterations:
            kinds.setdefault(f"{run.recipe.method}/{run.recipe.model.backbone}", run.recipe)
    if not kinds:
        raise WsisError(f"nothing is trained for {', '.join(tables)} at scale {plan.scale.name}")
    seconds, device = {}, ""
    with tempfile.TemporaryDirectory() as folder:
        for kind, recipe in kinds.items():
            seconds[kind], device = _image(alone(recipe, options), Path(folder), plan.scale.name, options)
            print(f"{kind}: {seconds[kind]:.4g} s an image", flush=True)
    return Measured(scale=plan.scale.name, device=device, torch=torch.__version__, seconds_per_image=seconds)


def alone(recipe: Recipe, options: Options) -> Recipe:
    """The recipe with what one device trains on, from random weights, without what other runs made."""
    tree = recipe.settled().model_dump(mode="json")
    schedule, data, model = tree["schedule"], tree["data"], tree["model"]
    schedule |= {"batch": max(1, schedule["batch"] // schedule["devices"]), "devices": 1}
    model |= {"weights": "none", "trained": "all"}
    model["norm"] = "batch" if model["norm"] == "frozen" else model["norm"]
    tree["init"] = None
    untaught(tree)
    if options.data_root is None:
        data |= {
            "dataset": "coco",
            "train": "train",
            "eval": "val",
            "train_images": None,
            "eval_images": None,
        }
        data["supervision"] = "masks" if data["supervision"].startswith("masks-") else data["supervision"]
        annotated_maps(tree)  # drawn images have no semantic maps but their own
    return Recipe.model_validate_json(json.dumps(tree))


def _image(recipe: Recipe, folder: Path, scale: str, options: Options) -> tuple[float, str]:
    """Seconds a training image, the median of the steps that are timed, and the device's name."""
    roots = drawn(folder, SIDE) if options.data_root is None else options.data_root
    root, place = run_root(recipe, folder, scale, roots), salient_place(recipe, folder, scale, roots)
    fabric = make_fabric(recipe.schedule, options.accelerator, [0])
    seed_process("weights", recipe.seed)
    opened = open_root(recipe, root)
    method = build_method(recipe, opened.num_classes)
    method.begin()
    middle = recipe.schedule.end // 2  # when what a method begins later has begun
    method.iteration.fill_(middle)
    module, optimizer = fabric.setup(Losses(method), build_optimizer(method, recipe.schedule))
    module.train()
    shard = Shard(workers=4 if options.accelerator == "cuda" else 0)
    generator, times = torch.Generator().manual_seed(0), []
    with closing(batches(method, opened, place and open_salient(place), shard)) as stream:
        for step in range(WARM + options.steps):
            began = now(options.accelerator)
            (batch,) = next(stream)
            losses = module(Item(batch.to(fabric.device), generator))
            fabric.backward(sum(losses.values()))
            if recipe.schedule.clip:
                fabric.clip_gradients(
                    module, optimizer, max_norm=recipe.schedule.clip, error_if_nonfinite=False
                )
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            method.on_step_end(middle + step)
            times.append(now(options.accelerator) - began)
    return statistics.median(times[WARM:]) / recipe.schedule.batch, device_name(fabric.device)


def drawn(folder: Path, side: int) -> dict[str, str]:
    """Roots of drawn images of `side` x `side` pixels, made where they are not there."""
    place = folder / "shapes"
    if not place.exists():
        few = {"train_images": IMAGES, "val_images": 1, "salient_images": IMAGES}
        write_shapes(ShapesSpec(size=side, **few), 0, place)
    return {"coco": str(place), "salient": str(place / "salient")}
