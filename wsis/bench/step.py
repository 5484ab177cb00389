"""`wsis bench train`: where a training step's time goes, on the data a scale trains on."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from wsis.data.loading import train_batches
from wsis.data.shapes import write_shapes
from wsis.engine.schedule import build_optimizer
from wsis.errors import WsisError
from wsis.methods import build_method
from wsis.plan import make_plan

PHASES = ("data", "forward", "backward", "optimiser")


def bench(scale: str, steps: int, device: str) -> None:
    """Train the scale's BoxInst for `steps` steps from scratch and print the share of each phase."""
    plan = make_plan(scale, seeds=(0,))
    found = [r for r in plan.runs.values() if r.recipe.method == "boxinst" and r.recipe.loss.pairwise]
    if plan.scale.data != "generated" or not found:
        raise WsisError(f"scale {scale} has no generated data to bench on; use tiny or smoke")
    recipe = found[0].recipe
    with tempfile.TemporaryDirectory() as folder:
        root = write_shapes(recipe.data.shapes, recipe.seed, Path(folder) / "shapes")
        method = build_method(recipe, 3).to(device).train()
        optimizer = build_optimizer(method, recipe.schedule)
        stream = train_batches(recipe, root, 0)
        seconds = dict.fromkeys(PHASES, 0.0)
        warm = max(steps // 5, 1)
        for step in range(warm + steps):
            times = [_now(device)]
            (batch,) = next(stream)
            batch = batch.to(torch.device(device))
            times.append(_now(device))
            with torch.autocast(device, torch.bfloat16, enabled=recipe.schedule.precision == "bf16"):
                losses = method.losses(batch, torch.Generator().manual_seed(step))
            times.append(_now(device))
            optimizer.zero_grad()
            sum(losses.values()).backward()
            times.append(_now(device))
            optimizer.step()
            method.on_step_end(step)
            times.append(_now(device))
            if step >= warm:
                for phase, start, end in zip(PHASES, times, times[1:], strict=False):
                    seconds[phase] += end - start
    total = sum(seconds.values())
    table = Table("phase", "ms a step", "share", title=f"{recipe.id}, scale {scale}, {device}")
    for phase in PHASES:
        table.add_row(phase, f"{seconds[phase] / steps * 1e3:.1f}", f"{seconds[phase] / total:.0%}")
    images = recipe.schedule.batch * steps / total
    table.add_row("all", f"{total / steps * 1e3:.1f}", f"{images:.0f} images/s")
    Console().print(table)


def _now(device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
