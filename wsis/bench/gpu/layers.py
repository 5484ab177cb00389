"""What a training is made of, one by one: pairwise loss, batch norm over processes, optimisers, the feed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from wsis.bench.gpu.parts import Row, Setting, methods
from wsis.bench.gpu.training import Case
from wsis.bench.memory import now
from wsis.data.loading import Shard
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.feed import on_device
from wsis.engine.launch import STORE, launch, make_fabric
from wsis.engine.schedule import update
from wsis.nn.sync_norm import synchronise

AGREES = 1e-5  # pairwise loss and its plain formulation, relative
SAME = 1e-4  # batch norms, absolute: inputs are about 1
SAMPLES, CHANNELS, SIDE = 8, 64, 48  # of a batch norm's input, a process
FED = 6  # batches


def pairwise(setting: Setting) -> Iterator[Row]:
    """What `wsis bench pairwise` prints for machines."""
    command = [sys.executable, "-m", "wsis", "bench", "pairwise", "--json", "--device", setting.accelerator]
    result = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    faults = [
        f"{kind} differs from the plain one's by {result[f'{kind}_difference']:.1e}, over {AGREES:.0e}"
        for kind in ("loss", "gradient")
        if not result[f"{kind}_difference"] <= AGREES
    ]
    yield {"name": "pairwise loss", **result, "faults": faults}


def sync_norm(setting: Setting) -> Iterator[Row]:
    """Ours against torch.nn.SyncBatchNorm on two cards, or one; on a processor against nn.BatchNorm2d."""
    processes = min(2, torch.cuda.device_count()) if setting.accelerator == "cuda" else 1
    yield launch(_norms, (setting.accelerator, processes), processes)


def _norms(accelerator: str, processes: int) -> Row:
    """Compare both layers on the same input; the row is the first process'."""
    rank = int(os.environ["LOCAL_RANK"])
    device = torch.device(accelerator, rank) if accelerator == "cuda" else torch.device("cpu")
    if accelerator == "cuda":
        torch.cuda.set_device(device)
    store = dist.FileStore(os.environ[STORE], processes)
    backend = "nccl" if accelerator == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)
    try:
        ours = nn.Sequential(nn.BatchNorm2d(CHANNELS))
        synchronise(ours)
        plain = nn.Sequential(nn.BatchNorm2d(CHANNELS))
        theirs = nn.SyncBatchNorm.convert_sync_batchnorm(plain) if accelerator == "cuda" else plain
        ours_, theirs_ = (_passed(layer.to(device), rank, accelerator) for layer in (ours, theirs))
    finally:
        dist.destroy_process_group()
    apart = {key: (value - theirs_[0][key]).abs().max().item() for key, value in ours_[0].items()}
    faults = [
        f"{key} differs by {value:.1e}, over {SAME:.0e}" for key, value in apart.items() if not value <= SAME
    ]
    kind = "torch.nn.SyncBatchNorm" if accelerator == "cuda" else "nn.BatchNorm2d"
    name = f"{processes} process{'es' if processes > 1 else ''}, {backend}, against {kind}"
    return {"name": name, "apart": apart, "ms": ours_[1], "torch_ms": theirs_[1], "faults": faults}


def _passed(layer: nn.Module, rank: int, accelerator: str) -> tuple[dict[str, Tensor], float]:
    """Output, gradient and buffers after a pass; milliseconds of the second one."""
    draws = torch.Generator().manual_seed(rank)
    shape = (SAMPLES, CHANNELS, SIDE, SIDE)
    device = next(layer.parameters()).device
    x, weights = ((torch.randn(shape, generator=draws) + rank).to(device) for _ in range(2))
    for _ in range(2):
        x = x.detach().requires_grad_()
        began = now(accelerator)
        out = layer(x)
        (out * weights).sum().backward()
        milliseconds = 1000 * (now(accelerator) - began)
    values = {"output": out.detach(), "gradient": x.grad}
    return values | {name: value.float() for name, value in layer.named_buffers()}, milliseconds


def optimiser(setting: Setting) -> Iterator[Row]:
    """A row an optimiser: a gradient that is not finite leaves the weights alone, the next one moves them."""
    fabric = make_fabric(ScheduleSpec(precision="32"), setting.accelerator, [0])
    for kind in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW):
        layer = nn.Linear(8, 8)
        module, optimizer = fabric.setup(layer, kind(layer.parameters(), lr=0.1, fused=True))
        start, faults = layer.weight.detach().clone(), []
        for value in (float("inf"), 1.0):
            for parameter in module.parameters():
                parameter.grad = torch.full_like(parameter, value)
            update(optimizer, layer.weight.grad.norm(), None)
            moved = not torch.equal(layer.weight, start)
            if moved != (value == 1.0):
                faults.append(f"a gradient of {value} {'moves' if moved else 'does not move'} the weights")
        yield {"name": f"fused {kind.__name__}", "faults": faults}


def feed(setting: Setting) -> Iterator[Row]:
    """Batches that two processes read, beside those that are read here: equal, pinned, on the device."""
    with tempfile.TemporaryDirectory() as folder:
        case = Case(methods()[0], setting.size, Path(folder))
        method, faults = case.network(), list[str]()
        device = make_fabric(case.recipe.schedule, setting.accelerator, [0]).device
        own = list(islice(case.stream(method, Shard()), FED))
        began = now(setting.accelerator)
        with closing(case.stream(method, Shard(workers=2))) as read:
            fed = list(islice(on_device(_watched(read, setting, faults), device), FED))
        seconds = now(setting.accelerator) - began
    for one, other in zip(own, fed, strict=True):
        images = other[0].images
        if images.device != device or not torch.equal(images.cpu(), one[0].images):
            faults.append(f"batch of images {one[0].ids} arrived changed, or on {images.device}")
    images = FED * case.recipe.schedule.batch
    yield {"name": "two processes", "images_per_second": images / seconds, "faults": faults}


def _watched(read: Iterator[list[Any]], setting: Setting, faults: list[str]) -> Iterator[list[Any]]:
    """Pass batches on; those for a card must be pinned."""
    for micros in read:
        if setting.accelerator == "cuda" and not micros[0].images.is_pinned() and not faults:
            faults.append("batches are not pinned")
        yield micros
