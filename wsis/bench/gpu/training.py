"""Trainings of a few steps, by the training loop itself: losses against the processor's, and resume."""

from __future__ import annotations

import json
import os
import signal
import statistics
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsis.bench.default import built
from wsis.bench.gpu.parts import Row, Setting, Size, methods
from wsis.bench.steps import Options, alone, drawn
from wsis.data.loading import Shard
from wsis.data.places import salient_place
from wsis.data.roots import open_root
from wsis.data.salient import open_salient
from wsis.data.structures import Batch
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.engine.launch import make_fabric, possible_precision
from wsis.engine.seeding import seed_of, seed_process
from wsis.engine.step import batches
from wsis.engine.train import TrainOptions, train
from wsis.files import read_lines
from wsis.methods import info_of
from wsis.methods.base import Method
from wsis.methods.weights import load_model
from wsis.plan import make_plan
from wsis.signals import Interrupted

TOLERANCE = {"32": 1e-3, "bf16": 5e-2, "16": 2e-2}  # of the first step's losses, relative to their sum
WARM = 2  # steps whose time is not counted
STOPPED, RESUMED = 3, 6  # steps before a training is told to stop, and all of its steps


class Case:
    """A method on drawn images: its recipe for a few steps, its stream, and the weights it starts from."""

    def __init__(self, method: str, size: Size, folder: Path) -> None:
        """folder: where the images are drawn. Weights are random; no file of them has to be there."""
        plan = make_plan(size.scale, seeds=(0,))
        trained = (run for run in plan.runs.values() if run.iterations and run.recipe.method == method)
        # A row, rather than what rows start from, and one that learns from boxes, where there is one.
        run = min(trained, key=lambda run: (not run.rows, run.recipe.data.supervision == "masks"))
        recipe = alone(run.recipe, Options("cpu"))
        schedule = {"iterations": size.steps, "length": 1.0, "milestones": [], "warmup": 0, "until": None}
        changed = {f"schedule.{key}": value for key, value in schedule.items()}
        changed |= {"schedule.batch": size.images, "model.trained": "all", **info_of(method).busy}
        self.middle = recipe.schedule.end // 2  # when what a method begins later has begun
        tree = merged(recipe.model_dump(mode="json"), changed)
        self.recipe = Recipe.model_validate_json(json.dumps(tree)).settled()
        roots = drawn(folder, size.side)
        place = salient_place(self.recipe, folder, size.scale, roots)
        self.root = open_root(self.recipe, roots["coco"])
        self.salient = None if place is None else open_salient(place)

    def network(self) -> Method:
        """The method with its first weights, at an iteration where all its losses are on."""
        method = built(self.recipe, self.root)
        method.iteration.fill_(self.middle)
        return method

    def stream(self, method: Method, shard: Shard) -> Iterator[list[Batch]]:
        """The batches that it trains on."""
        return batches(method, self.root, self.salient, shard)

    def trained(
        self, folder: Path, accelerator: str, precision: str = "32", before: Callable[[int], Any] = int
    ) -> dict[str, Any]:
        """Train into `folder` and return what `wsis.engine.train.train` does.

        before: called with the number of each step, before it.
        """
        recipe = self.recipe.model_copy(
            update={"schedule": self.recipe.schedule.model_copy(update={"precision": precision})}
        )
        folder.mkdir(parents=True, exist_ok=True)
        method = self.network()

        def stream(shard: Shard) -> Iterator[list[Batch]]:
            for step, micros in enumerate(self.stream(method, shard), shard.start):
                before(step)
                yield micros

        fabric = make_fabric(recipe.schedule, accelerator, [0])
        options = TrainOptions(progress=False)
        return train(recipe, method, stream, folder, fabric, options=options)

    def first_losses(self) -> dict[str, float]:
        """The losses of the first step on the processor, in 32 bits."""
        method = self.network()
        method.begin()
        seed_process(self.recipe.seed, 0)
        (batch,) = next(self.stream(method, Shard()))
        draws = torch.Generator().manual_seed(seed_of(self.recipe.seed, 0, 0))
        with torch.no_grad():
            losses = method.train().losses(batch, draws)
        return {name: value.item() for name, value in losses.items()}


def steps(setting: Setting, method: str) -> Iterator[Row]:
    """A row a precision: milliseconds a step, peak memory, losses of the first step beside the processor's.

    In 32 bits TF32 is off, so that what differs is the order of sums.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with tempfile.TemporaryDirectory() as folder:
        case = Case(method, setting.size, Path(folder))
        expected = case.first_losses()
        for precision in ("32", "bf16", "16"):
            if possible_precision(precision, setting.accelerator) != precision:
                yield {"name": f"{method}, {precision}", "told": "not native to this device", "faults": []}
                continue
            out = Path(folder) / precision
            summary = case.trained(out, setting.accelerator, precision)
            yield _row(method, precision, expected, summary, list(read_lines(out / "log.jsonl")))


def _row(
    method: str,
    precision: str,
    expected: dict[str, float],
    summary: dict[str, Any],
    log: list[dict[str, Any]],
) -> Row:
    """What a training of a few steps shows."""
    found, total = log[0]["losses"], sum(map(abs, expected.values())) or 1.0
    apart = max(abs(found[name] - value) / total for name, value in expected.items())
    times = [after["seconds"] - former["seconds"] for former, after in pairwise(log)][WARM - 1 :]
    faults = []
    if not apart <= TOLERANCE[precision]:
        pairs = ", ".join(f"{name} {found[name]:.6g} for {value:.6g}" for name, value in expected.items())
        faults.append(f"first losses differ by {apart:.1e}, over {TOLERANCE[precision]:.0e}: {pairs}")
    return {
        "name": f"{method}, {precision}",
        "losses": found,
        "processor": expected,
        "apart": apart,
        "tolerance": TOLERANCE[precision],
        "step_ms": 1000 * statistics.median(times),
        "peak_mb": summary["peak_memory"] and summary["peak_memory"] / 2**20,
        "faults": faults,
    }


def resume(setting: Setting) -> Iterator[Row]:
    """Weights of a training that a signal stopped and that went on, beside those of two uncut ones.

    Where these two are equal, the third has to be. Else it may differ from them as they do from each other.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    method = methods()[0]
    size = Size(setting.size.scale, setting.size.side, setting.size.images, RESUMED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = Case(method, size, folder)
        weights = []
        for part in ("uncut", "again"):
            case.trained(folder / part, setting.accelerator)
            weights.append(_weights(folder / part))
        faults = []

        def stop(step: int) -> None:
            if step == STOPPED:
                os.kill(os.getpid(), signal.SIGTERM)

        try:
            case.trained(folder / "cut", setting.accelerator, before=stop)
            faults.append("a signal did not stop the training")
        except Interrupted:
            resumed = case.trained(folder / "cut", setting.accelerator)["resumed"]
            if resumed != 1:
                faults.append(f"resumed {resumed} times instead of once")
        noise, apart = _apart(*weights), _apart(weights[0], _weights(folder / "cut"))
        if apart > (10 * noise if noise else 0):
            faults.append(f"weights differ by {apart:.1e}, those of two uncut trainings by {noise:.1e}")
        yield {"name": method, "apart": apart, "uncut_apart": noise, "faults": faults}


def _weights(folder: Path) -> dict[str, Tensor]:
    return load_model(folder / "model.safetensors")["model"]


def _apart(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """The largest difference of a tensor's values, relative to the largest of them."""
    pairs = [(value.double(), other[name].double()) for name, value in one.items() if value.numel()]
    return max(((b - a).abs().max() / a.abs().max().clamp(min=1e-12)).item() for a, b in pairs)
