"""`wsis bench launches`: operations of a training step, and where the host waits for the device, by method.

What a graphics card would be given is counted on the simulated accelerator (`wsis.bench.simulated`), so that
no card is needed. Every method trains all of its network on a few generated images, at the end of its
schedule, where all its losses are on. A step is what the training loop does: losses, backward, clipping, the
optimiser, what follows it. Operations are those of losses and backward.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from wsis.bench.default import built, small
from wsis.bench.simulated import DEVICE, Counts, simulated
from wsis.data.loading import Shard, groups
from wsis.data.places import salient_place, shapes_root
from wsis.data.roots import Root, open_root
from wsis.data.salient import SalientRoot, open_salient
from wsis.data.shapes.write import write_shapes
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.engine.schedule import build_optimizer
from wsis.errors import WsisError
from wsis.losses.plain import plain_pairwise_loss
from wsis.methods import info_of
from wsis.methods.base import Method
from wsis.plan import Plan, make_plan

WARM = 8  # steps on the CPU before: they fill what a method remembers


@dataclass
class Launches:
    """Of one training step, and of predicting `images` images.

    waits, host_data: of this project's code; library: both of the libraries that it calls
    causes: "file:line kind" -> how often, of a step's waits and host data; in_prediction: the same
    """

    images: int
    operations: int
    waits: int
    host_data: int
    library: int
    prediction: int
    prediction_library: int
    causes: dict[str, int]
    in_prediction: dict[str, int]


def bench(scale: str, images: int, causes: bool, as_json: bool) -> None:
    """Print what a step of each method gives a card to do, and how often it waits."""
    found = measured(scale, images)
    if as_json:
        print(json.dumps({name: asdict(row) for name, row in found.items()}, indent=1))
        return
    columns = ("operations", "waits", "host data", "in libraries", "prediction waits", "in libraries")
    table = Table("method", *columns, title=f"a step of {images} images at {scale}, simulated accelerator")
    for name, row in found.items():
        numbers = (
            row.operations,
            row.waits,
            row.host_data,
            row.library,
            row.prediction,
            row.prediction_library,
        )
        table.add_row(name, *map(str, numbers))
    console = Console(width=140)
    console.print(table)
    for name, row in found.items() if causes else ():
        for part, of_part in (("step", row.causes), ("prediction", row.in_prediction)):
            for cause, number in of_part.items():
                print(f"{name}, {part}: {number} x {cause}")


def measured(scale: str, images: int = 8, methods: list[str] | None = None) -> dict[str, Launches]:
    """Method -> what its step launches; "NAME, plain" where a loss is replaced by its plain formulation."""
    plan = make_plan(scale, seeds=(0,))
    if plan.scale.data != "generated":
        raise WsisError(f"scale {scale} has no generated images: count launches at tiny or smoke")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes(plan, images).items():
            if methods is not None and name not in methods:
                continue
            for label, formulation in ((name, contextlib.nullcontext()), (f"{name}, plain", plain())):
                with formulation as used:
                    row = launches(recipe, Path(folder), scale)
                if not label.endswith("plain") or used:
                    found[label] = row
    return found


def recipes(plan: Plan, images: int) -> dict[str, Recipe]:
    """Method -> the recipe of its first row that trains, on `images` a batch, with all of its network."""
    found: dict[str, Recipe] = {}
    for run in sorted(plan.runs.values(), key=lambda run: not run.rows):
        name = run.recipe.method
        if name in found or not run.iterations or run.recipe.model.trained == "base":
            continue
        tree = small(run.recipe).model_dump(mode="json")
        tree["init"] = None
        changed = {"model.trained": "all", "schedule.batch": images, **info_of(name).busy}
        found[name] = Recipe.model_validate_json(json.dumps(merged(tree, changed))).settled()
    return found


@contextlib.contextmanager
def plain() -> Iterator[list[bool]]:
    """Losses by their plain formulations; yields a list that is empty while none was asked for."""
    used: list[bool] = []

    def pairwise(
        logits: Tensor, rectangles: Tensor, images: Tensor, edges: Any, spec: Any, _: Any, masks: Any
    ) -> Tensor:
        used.append(True)
        return plain_pairwise_loss(logits, rectangles, images, edges, spec, masks)

    with patch("wsis.losses.pairwise.pairwise_loss", pairwise):
        yield used


def launches(recipe: Recipe, folder: Path, scale: str) -> Launches:
    """What one step and a prediction of `recipe` launch."""
    training = warmed(recipe, folder, scale, torch.device("cpu"))
    method = training.method
    samples = next(groups(method.samples(training.root)))
    with simulated() as counts:
        training.move(DEVICE)
        training.step(training.batch())  # constants come to the device once
        counts.clear()
        operations = training.step(training.batch(), counts)
        of_step, causes = _totals(counts), _causes(counts)
        counts.clear()
        method.eval()
        method.predict(samples)
        waits, host_data, library = _totals(counts)
        prediction = (waits + host_data, library, causes, _causes(counts))
        return Launches(recipe.schedule.batch, operations, *of_step, *prediction)


def warmed(recipe: Recipe, folder: Path, scale: str, device: torch.device) -> Training:
    """A training near the end of its schedule, after WARM steps on the device."""
    root, salient = opened(recipe, folder, scale)
    method, start = built(recipe, root).train().to(device), max(recipe.schedule.end - WARM - 2, 0)
    method.iteration.fill_(start)
    training = Training(method, root, method.stream(root, salient, Shard(start)), start)
    for _ in range(WARM):
        training.step(training.batch())
    return training


def opened(recipe: Recipe, folder: Path, scale: str) -> tuple[Root, SalientRoot | None]:
    """The recipe's generated roots below `folder`, drawn where they are not there."""
    place = folder / scale / "data" / shapes_root(recipe)
    if not place.exists():
        write_shapes(recipe.data.shapes, recipe.seed, place)
    salient = salient_place(recipe, folder, scale, None)
    return open_root(recipe, place), None if salient is None else open_salient(salient)


class Training:
    """A method with its optimiser on the device where the method is, and the batches that it trains on."""

    def __init__(self, method: Method, root: Root, stream: Iterator[list[Any]], iteration: int) -> None:
        """stream: of micro-batches, one an iteration; iteration: its first"""
        self.method, self.schedule = method, method.recipe.schedule
        self.root, self.stream, self.iteration = root, stream, iteration
        self.optimizer = self._optimizer()

    def _optimizer(self) -> torch.optim.Optimizer:
        # The simulated device has no fused optimiser; a scaler asks for one that is not.
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        return build_optimizer(self.method, self.schedule, scaler)

    def move(self, device: torch.device) -> None:
        """To another device, with an optimiser that remembers nothing."""
        self.method.to(device)
        self.optimizer = self._optimizer()

    def batch(self) -> Any:
        """The next iteration's."""
        return next(self.stream)[0]

    def step(self, batch: Any, counts: Counts | None = None) -> int:
        """One step, as `wsis.engine.train` does it; returns the operations of losses and backward."""
        generator = torch.Generator().manual_seed(self.iteration)
        losses = self.method.losses(batch.to(self.method.iteration.device), generator)
        torch.stack(list(losses.values())).sum().backward()
        operations = counts.operations if counts else 0
        if clip := self.schedule.clip:
            torch.nn.utils.clip_grad_norm_(self.method.parameters(), clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.method.on_step_end(self.iteration)
        self.iteration += 1
        return operations


def _totals(counts: Counts) -> tuple[int, int, int]:
    """Waits and copies of host data of our code, and both together of libraries."""
    ours = [
        sum(number for (cause, _), number in counter.items() if not cause.library)
        for counter in (counts.waits, counts.host_data)
    ]
    return *ours, counts.waits_of(library=True)


def _causes(counts: Counts) -> dict[str, int]:
    found: Counter[str] = Counter()
    for counter in (counts.waits, counts.host_data):
        for (cause, kind), number in counter.items():
            found[f"{cause.line} {kind}{' (library)' if cause.library else ''}"] += number
    return dict(found.most_common())
