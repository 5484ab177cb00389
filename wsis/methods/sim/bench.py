"""`wsis bench bank`: what a training step of each method costs beside BoxInst's at the same size.

The methods take turns, step by step, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import nn

from wsis.bench.memory import fix_mmap_threshold, now, peak
from wsis.data.loading import train_batches
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import Batch, Targets
from wsis.data.transforms import padded
from wsis.declare.recipe import Recipe
from wsis.engine.schedule import build_optimizer
from wsis.methods import build_method
from wsis.methods.sim.bank import Bank, Entry
from wsis.options import DeviceOption, JsonOption, ScaleOption
from wsis.plan import Plan, make_plan

PHASES = ("data", "forward", "backward", "optimiser")
ROWS = {"BoxInst": "baseline", "SIM": "pseudo", "SIM + paste": "pseudo + paste"}
OBJECTS, CLASSES = 7, 80  # an image of COCO
MOST_TIME, MOST_MEMORY = 1.6, 1.5  # of a SIM step with copy-paste, in BoxInst's


def bench(
    scale: ScaleOption = "tiny",
    steps: int = 40,
    device: DeviceOption = "cpu",
    images: Annotated[int | None, typer.Option(help="a step; default: the recipe's batch")] = None,
    as_json: JsonOption = False,
) -> None:
    """Time and peak memory of a training step of SIM beside BoxInst's, and the size of its bank."""
    result = measure(scale, steps, device, images)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    title = f"scale {scale}, {result['images']} images a step, {result['device']}; ms, peak MB, times BoxInst"
    columns = ("step", "ratio", "MB", "ratio")
    table = Table("method", *PHASES, *columns, title=title)
    for name, cost in result["methods"].items():
        memory = (
            ["-", "-"] if cost["peak_mb"] is None else [f"{cost['peak_mb']:.0f}", f"{cost['memory']:.2f}"]
        )
        phases = (f"{cost['ms'][phase]:.1f}" for phase in PHASES)
        table.add_row(name, *phases, f"{cost['step_ms']:.1f}", f"{cost['time']:.2f}", *memory)
    Console().print(table)
    print(f"wanted of SIM with copy-paste: at most {MOST_TIME} and {MOST_MEMORY}")
    print(f"a full bank of 100 images with 20 objects each: {result['bank_mb']:.0f} MB at 800 x 1067 pixels")


def measure(scale: str, steps: int, device: str, images: int | None = None) -> dict[str, Any]:
    """Median milliseconds of a step and of its phases, and MB above what is held between steps.

    From random weights, so the thresholds of SIM's labels are set to 0.5 (else nothing would be labelled)
    and its bank to two batches. images: a step; by default the recipe's batch.
    """
    fix_mmap_threshold()
    over = {"sim.tau_low": 0.5, "sim.tau_high": 0.5, "model.weights": "none"}
    plan = make_plan(scale, seeds=(0,), overrides=over)
    recipes = {name: plan.runs[plan.row_runs("sim/3", row)[0]].recipe for name, row in ROWS.items()}
    size = images or recipes["BoxInst"].schedule.batch
    with tempfile.TemporaryDirectory() as folder:
        trainings = {
            name: _Training(_small_bank(recipe, size), device, _stream(plan, recipe, size, Path(folder)))
            for name, recipe in recipes.items()
        }
        seconds: dict[str, list[list[float]]] = {name: [] for name in trainings}
        for step in range(8 + steps):
            for name, training in trainings.items():
                times = training.step(step)
                if step >= 8:
                    seconds[name].append(times)
        peaks = {
            name: statistics.median(values) if None not in values else None
            for name, training in trainings.items()
            if (values := [peak(partial(training.step, 8 + steps + i), device) for i in range(5)])
        }
    methods = {}
    for name, times in seconds.items():
        phases = [statistics.median(t[i] for t in times) * 1e3 for i in range(len(PHASES))]
        whole = statistics.median(sum(t) for t in times) * 1e3
        methods[name] = {
            "ms": dict(zip(PHASES, phases, strict=True)),
            "step_ms": whole,
            "peak_mb": peaks[name],
        }
    base = methods["BoxInst"]
    for cost in methods.values():
        cost["time"] = cost["step_ms"] / base["step_ms"]
        cost["memory"] = cost["peak_mb"] / base["peak_mb"] if cost["peak_mb"] and base["peak_mb"] else None
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    return {"device": name, "scale": scale, "images": size, "methods": methods, "bank_mb": bank_megabytes()}


class _Training:
    """A method with its optimiser and data, past its warm-up."""

    def __init__(self, recipe: Recipe, device: str, stream: Iterator[list[Batch]]) -> None:
        self.recipe, self.device, self.stream = recipe, device, stream
        classes = 3 if recipe.data.dataset == "shapes" else CLASSES
        torch.manual_seed(0)
        self.method: nn.Module = build_method(recipe, classes).to(device).train()
        self.method.begin()
        self.first = recipe.sim.warmup if recipe.sim else 0
        self.method.iteration.fill_(self.first)
        self.optimizer = build_optimizer(self.method, recipe.schedule)

    def step(self, number: int) -> list[float]:
        """Seconds of each phase."""
        times = [now(self.device)]
        (batch,) = next(self.stream)
        batch = batch.to(torch.device(self.device))
        times.append(now(self.device))
        half = self.recipe.schedule.precision != "32"
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            losses = self.method.losses(batch, torch.Generator().manual_seed(number))
        times.append(now(self.device))
        self.optimizer.zero_grad()
        sum(losses.values()).backward()
        times.append(now(self.device))
        self.optimizer.step()
        self.method.on_step_end(self.first + number)
        times.append(now(self.device))
        return [end - start for start, end in pairwise(times)]


def _small_bank(recipe: Recipe, images: int) -> Recipe:
    if recipe.sim is None:
        return recipe
    return recipe.model_copy(update={"sim": recipe.sim.model_copy(update={"bank": 2 * images})})


def _stream(plan: Plan, recipe: Recipe, images: int, folder: Path) -> Iterator[list[Batch]]:
    """The scale's own images where they are generated, else noise of the size of its photographs."""
    if plan.scale.data == "generated":
        recipe = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"batch": images})})
        root = folder / "shapes"
        if not root.exists():
            write_shapes(recipe.data.shapes, recipe.seed, root)
        return train_batches(recipe, root)
    short = recipe.data.eval_short_side
    height, width = (padded(side) for side in (short, min(short * 4 // 3, recipe.data.max_side)))
    return _noise(images, height, width)


def _noise(images: int, height: int, width: int) -> Iterator[list[Batch]]:
    g = torch.Generator().manual_seed(0)
    size = torch.tensor([width, height])
    while True:
        pixels = torch.randint(0, 256, (images, 3, height, width), generator=g, dtype=torch.uint8)
        targets = []
        for _ in range(images):
            low = torch.rand(OBJECTS, 2, generator=g) * size * 0.7
            high = (low + size * (0.05 + 0.35 * torch.rand(OBJECTS, 2, generator=g))).minimum(size)
            labels = torch.randint(0, CLASSES, (OBJECTS,), generator=g)
            targets.append(Targets(torch.cat([low, high], 1), labels))
        valid = torch.ones(images, height, width, dtype=torch.bool)
        yield [Batch(pixels, valid, torch.ones(images), targets, list(range(images)))]


def bank_megabytes(length: int = 100, height: int = 800, width: int = 1067, objects: int = 20) -> float:
    """1e6 bytes of a full bank of COCO images (480 x 640) at the paper's largest training size, stride 4."""
    bank = Bank(length)
    grid = (-(-height // 4), -(-width // 4))
    entry = Entry(
        torch.zeros(3, height, width, dtype=torch.uint8),
        torch.zeros(objects, 4),
        torch.zeros(objects, dtype=torch.int64),
        torch.full((objects, -(-grid[0] * grid[1] // 8)), 255, dtype=torch.uint8),
        torch.ones(objects),
        grid,
    )
    for _ in range(length):
        bank.push(entry)
    tensors = (x for e in bank.entries for x in vars(e).values() if isinstance(x, torch.Tensor))
    return sum(x.numel() * x.element_size() for x in tensors) / 1e6
