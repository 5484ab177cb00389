"""A toy method, a toy data stream, and functions that train them.

The method draws from the generator it is given and from the process-wide one (dropout), has a buffer and
a hook, so that an inexact resume shows in the weights.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.engine.processes import hold
from wsis.data.loading import Shard
from wsis.data.structures import Batch, Instances, Sample, Targets
from wsis.declare.recipe import Recipe
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.engine.train import TrainOptions, train
from wsis.methods.base import Method


def toy_recipe(seed: int = 3, **schedule: object) -> Recipe:
    base = {"iterations": 40, "batch": 4, "devices": 1, "milestones": (20, 30), "warmup": 5, "lr": 0.05}
    return Recipe(method="boxinst", seed=seed, schedule=ScheduleSpec(**(base | schedule)))


class Toy(Method):
    def __init__(self, dropout: float = 0.2, noise: float = 0.1) -> None:
        super().__init__(toy_recipe())
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.GroupNorm(2, 4)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(4, 2)
        self.noise = noise
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def stream(self, root: object, salient: None, shard: Shard) -> Iterator[list[Batch]]:
        return toy_batches(shard)

    def samples(self, root: object, rank: int = 0, world: int = 1) -> Iterator[Sample]:
        """Five evaluation images."""
        for image_id in range(1, 6)[rank::world]:
            yield Sample(torch.zeros(3, 8, 8, dtype=torch.uint8), (8, 8), image_id)

    def towers(self) -> list[nn.Module]:
        return [self.conv, self.norm]

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        x = batch.images.float() / 255
        x = x + self.noise * torch.randn(x.shape, generator=generator).to(x.device)
        x = self.dropout(self.norm(self.conv(x)).relu().mean((2, 3)))
        target = torch.stack([t.boxes.sum().reshape(1) for t in batch.targets]) / 100
        out = self.out(x)
        return {"fit": (out[:, :1] - target).square().mean(), "other": out[:, 1].abs().mean()}

    def on_step_end(self, iteration: int) -> None:
        self.steps += 1

    def predict(self, samples: list[Sample]) -> list[Instances]:
        return [one_mask(sample) for sample in samples]


def one_mask(sample: Sample, score: float = 0.25) -> Instances:
    height, width = sample.size
    mask = {"size": [height, width], "counts": b"0" + b"4"}
    return Instances(torch.zeros(1, 4), torch.tensor([1]), torch.tensor([score]), [mask])


def toy_image(iteration: int, position: int) -> tuple[Tensor, Targets]:
    draw = torch.Generator().manual_seed(iteration * 1000 + position)
    image = torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=draw)
    return image, Targets(torch.rand(1, 4, generator=draw) * 50, torch.zeros(1, dtype=torch.int64))


def toy_batches(shard: Shard, batch: int = 4, pause: float = 0.0) -> Iterator[list[Batch]]:
    """Image p of iteration t is the same however the batch is split; its id is 1000 t + p."""
    rank, world, micro = shard.rank, shard.world, shard.micro
    size = batch // (world * micro)
    for iteration in range(shard.start, 10**6):
        time.sleep(pause)
        shards = []
        for m in range(micro):
            positions = range((m * world + rank) * size, (m * world + rank + 1) * size)
            images, targets = zip(*(toy_image(iteration, p) for p in positions), strict=True)
            stacked = torch.stack(images)
            ids = [iteration * 1000 + p for p in positions]
            valid = torch.ones(stacked.shape[0], 8, 8, dtype=torch.bool)
            shards.append(Batch(stacked, valid, torch.ones(len(ids)), list(targets), ids))
        yield shards


class SlowBatches:
    """A stream that pauses before each step and is held back before step `held`; it can be pickled."""

    def __init__(self, pause: float, held: int | None, mark: Path) -> None:
        self.pause, self.held, self.mark = pause, held, mark

    def __call__(self, shard: Shard) -> Iterator[list[Batch]]:
        for iteration, micros in enumerate(toy_batches(shard, pause=self.pause), shard.start):
            if iteration == self.held:
                hold(self.mark)
            yield micros


def train_toy(
    folder: Path,
    devices: int = 1,
    pause: float = 0.0,
    every: int | None = None,
    dropout: float = 0.2,
    held: int | None = None,
    **schedule: object,
) -> dict:
    """Train the toy on the CPU; two images at once, so that one process needs two accumulation steps.

    One with pauses is there to be stopped: it is held back before step `held`, or before the last but one.
    """
    set_threads(1)
    recipe = toy_recipe(**schedule)
    torch.manual_seed(0)
    method = Toy(dropout)
    fabric = make_fabric(recipe.schedule, "cpu", range(devices))
    options = TrainOptions(checkpoint_iterations=every, progress=False, max_images=2)
    if pause and held is None:
        held = recipe.schedule.total - 2
    stream = SlowBatches(pause, held, folder / f"held-{held}-{fabric.global_rank}")
    return train(recipe, method, stream, folder, fabric, None, options)


def train_toy_parallel(
    folder: Path, devices: int, pause: float = 0.0, dropout: float = 0.2, start_method: str = "fork"
) -> dict:
    return launch(train_toy, (folder, devices, pause, None, dropout), devices, start_method)
