"""How often a step waits for the card: measured by the profiler, and as the simulated card predicts."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from wsis.bench.gpu.parts import Row, Setting
from wsis.bench.launches import launches, recipes, warmed
from wsis.declare.recipe import Recipe
from wsis.engine.launch import make_fabric
from wsis.plan import make_plan

IMAGES = 8  # a step, as in `wsis bench launches`
SCALES = {"cuda": "tiny", "cpu": "smoke"}
# The calls in which the host waits for what the card was given.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
TOLD = ("Memcpy DtoH", "Memcpy HtoD", "aten::_local_scalar_dense", "aten::item", "aten::nonzero")


def waits(setting: Setting) -> Iterator[Row]:
    """A row a method. A fault is a step that waits more often than predicted."""
    scale = SCALES[setting.accelerator]
    with tempfile.TemporaryDirectory() as folder:
        for name, recipe in recipes(make_plan(scale, seeds=(0,)), IMAGES).items():
            try:
                yield _row(name, recipe, Path(folder), scale, setting.accelerator)
            except Exception as error:
                yield {"name": name, "faults": [f"{type(error).__name__}: {error}"]}


def _row(name: str, recipe: Recipe, folder: Path, scale: str, accelerator: str) -> Row:
    predicted = launches(recipe, folder, scale)
    expected = predicted.waits + predicted.host_data + predicted.library
    events = _profiled(recipe, folder, scale, accelerator)
    measured = sum(events[call] for call in WAITS)
    faults = []
    if measured > expected:
        faults.append(f"waits {measured} times a step, {expected} predicted")
    found = {call: sum(n for key, n in events.items() if key.startswith(call)) for call in (*WAITS, *TOLD)}
    return {"name": name, "waits": measured, "predicted": expected, "events": found, "faults": faults}


def _profiled(recipe: Recipe, folder: Path, scale: str, accelerator: str) -> Counter[str]:
    """Event -> how often it occurs in a step after WARM others; the batch is on the device before."""
    device = make_fabric(recipe.schedule, accelerator, [0]).device
    training = warmed(recipe, folder, scale, device)
    batch = training.batch().to(device)
    cards = [ProfilerActivity.CUDA] if accelerator == "cuda" else []
    _synchronise(accelerator)
    with profile(activities=[ProfilerActivity.CPU, *cards]) as found:
        training.step(batch)
    events: Any = found.events()
    # The profiler itself waits for the device at its end.
    return Counter(event.name for event in events) - Counter({"cudaDeviceSynchronize": 1})


def _synchronise(accelerator: str) -> None:
    if accelerator == "cuda":
        torch.cuda.synchronize()
