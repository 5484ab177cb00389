"""A small SIM training on random images, whose bank fills within a step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from tests.engine.processes import hold
from tests.methods.scenes import TINY
from tests.methods.scenes import batch as scene
from wsis.data.loading import Shard
from wsis.data.structures import Batch
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.engine.train import TrainOptions, train
from wsis.methods import build_method
from wsis.methods.base import Method

WARMUP, TOTAL = 4, 12
SIM = {
    "method": "sim",
    "sim": {"warmup": WARMUP, "bank": 2, "tau_low": 0.5, "tau_high": 0.5, "ema": 0.9, "prototypes": 3},
    "schedule": {"iterations": TOTAL, "batch": 4, "devices": 1, "milestones": [8], "warmup": 2, "lr": 0.01},
}


def sim_recipe(**over: object) -> Recipe:
    """Keys with a double underscore reach into sections."""
    tree = merged(merged({}, TINY), SIM)
    tree = merged(tree, {key.replace("__", "."): value for key, value in over.items()})
    return Recipe.model_validate(tree, strict=False).settled()


def warmup_recipe() -> Recipe:
    """The BoxInst run that SIM's continues."""
    return sim_recipe(method="boxinst", sim=None, schedule__until=WARMUP)


def sim_batches(shard: Shard) -> Iterator[list[Batch]]:
    """Image p of iteration t is the same however the batch of four is split."""
    rank, world, micro = shard.rank, shard.world, shard.micro
    size = 4 // (world * micro)
    for t in range(shard.start, 10**6):
        shards = []
        for m in range(micro):
            places = range((m * world + rank) * size, (m * world + rank + 1) * size)
            parts = [scene(100 * t + p, images=1, objects=2) for p in places]
            images, valid, scales = (
                torch.cat([getattr(b, name) for b in parts]) for name in ("images", "valid", "scales")
            )
            ids = [100 * t + p for p in places]
            shards.append(Batch(images, valid, scales, [b.targets[0] for b in parts], ids))
        yield shards


def train_sim(
    folder: Path,
    recipe: Recipe,
    devices: int = 1,
    every: int | None = None,
    parent: Path | None = None,
    stop_after: int | None = None,
    held: int | None = None,
) -> dict:
    """Train on the CPU; the stream breaks off after `stop_after` iterations, as a crash would.

    It is held back before step `held`, to be stopped there.
    """
    set_threads(1)
    torch.manual_seed(0)
    method = build_method(recipe, 3)
    fabric = make_fabric(recipe.schedule, "cpu", range(devices))
    options = TrainOptions(checkpoint_iterations=every, progress=False, max_images=4 // devices)

    def stream(shard: Shard) -> Iterator[list[Batch]]:
        for t, shards in enumerate(sim_batches(shard), shard.start):
            if stop_after is not None and t == stop_after:
                raise RuntimeError("crash")
            if t == held:
                hold(folder / f"held-{fabric.global_rank}")
            yield shards

    return train(recipe, method, stream, folder, fabric, parent, options)


def train_sim_parallel(
    folder: Path, recipe: Recipe, every: int | None = None, held: int | None = None
) -> dict:
    return launch(train_sim, (folder, recipe, 2, every, None, None, held), 2, "fork")


def assert_follows(method: Method, student: list[nn.Parameter], slow: list[nn.Parameter], ema: float) -> None:
    """The momentum network's parameters begin as the student's, and move by 1 - ema in a step."""
    assert all(torch.equal(a, b) and a is not b for a, b in zip(student, slow, strict=True))
    before = [p.detach().clone() for p in slow]
    with torch.no_grad():
        for p in student:
            p.add_(torch.randn_like(p))
    method.on_step_end(7)
    for p, old, own in zip(student, before, slow, strict=True):
        torch.testing.assert_close(own, ema * old + (1 - ema) * p.detach())
