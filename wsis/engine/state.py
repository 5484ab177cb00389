"""What a training has at an iteration, where it starts, and its checkpoints.

It starts fresh, from a parent's weights, where a warm-up stopped, or from a checkpoint. A checkpoint holds
what all ranks share. What a rank has alone (a method's memory, batch norm's statistics of its share of the
images) lies beside it, in a file for each rank.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from wsis.declare.recipe import Recipe
from wsis.engine.checkpoint import load_checkpoint, load_local, prune_local, save_checkpoint, save_local
from wsis.engine.launch import device_name
from wsis.engine.log import StepLog
from wsis.engine.schedule import build_optimizer
from wsis.engine.seeding import rng_state, seed_process, set_rng_state
from wsis.engine.step import Losses
from wsis.errors import WsisError
from wsis.methods.base import Method
from wsis.methods.weights import continue_parent, init_from_parent
from wsis.nn.sync_norm import synchronise


class TrainState:
    """Weights, optimiser and random generators, on every rank; from a checkpoint where there is one.

    module, optimizer: the method's losses as a module, and its optimiser, both as Fabric sets them up
    start:   iterations done by the parent or by earlier processes
    offset:  bytes of log.jsonl that belong to them
    resumed: how many processes there were before
    scaler:  of gradients in float16, else None
    notes:   deviations that train.json tells
    """

    def __init__(
        self, recipe: Recipe, method: Method, folder: Path, fabric: Fabric, parent: Path | None
    ) -> None:
        """folder: of the run; its checkpoints lie below it. parent: weights that the run starts from."""
        self.recipe, self.method, self.fabric = recipe, method, fabric
        self.folder = folder / "checkpoints"
        self.rank, self.world, self.device = fabric.global_rank, fabric.world_size, fabric.device
        self.first = self.rank == 0
        checkpoint = load_checkpoint(self.folder, recipe.id)
        started, odd = begin(recipe, method, parent) if checkpoint is None else (None, "")
        if odd and self.first:
            print(f"{recipe.id}: {odd}", file=sys.stderr, flush=True)
        if self.device.type == "cuda":
            method.to(memory_format=torch.channels_last)
            torch.cuda.reset_peak_memory_stats(self.device)
        if self.world > 1 and recipe.sync_norm:
            synchronise(method)
        self.scaler = getattr(fabric.strategy.precision, "scaler", None)  # of gradients in float16
        module, optimizer = Losses(method), build_optimizer(method, recipe.schedule, self.scaler)
        self.module, self.optimizer = fabric.setup(module, optimizer)
        self.module.train()
        self.start = self.offset = self.resumed = 0
        self.notes: list[str] = []
        self._former = 0  # iteration of the last checkpoint
        self._before = 0.0  # seconds of earlier processes
        seed_process(recipe.seed, self.rank)
        if checkpoint:
            self._restore(checkpoint)
        elif started:
            self._load_optimizer(started)
            self.start = started["iteration"]
        self._begun = time.monotonic()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        self.method.load_state_dict(checkpoint["model"])
        self._load_optimizer(checkpoint)
        self.start, self.offset = checkpoint["iteration"], checkpoint["log"]
        self._former, self._before = self.start, checkpoint["seconds"]
        self.resumed = checkpoint["resumed"] + 1
        self.notes += checkpoint.get("notes", [])
        former, name = checkpoint.get("device"), device_name(self.device)
        if former not in (None, name):
            self.note(f"went on at iteration {self.start} on {name} after {former}")
        states = checkpoint["rng"]
        if len(states) == self.world:
            set_rng_state(states[self.rank], self.device)
            restore_local(self.method, self.world, self.folder, self.start, self.rank)
            return
        seed_process(self.recipe.seed, self.rank, self.start)  # nobody's state fits
        emptied = ", each with an empty memory" if self.method.local_state() else ""
        note = f"went on at iteration {self.start} with {self.world} instead of {len(states)} devices"
        self.note(note + emptied)

    def note(self, deviation: str) -> None:
        """Keep a deviation for train.json and the checkpoints to come, and print it."""
        if deviation not in self.notes:
            self.notes.append(deviation)
            if self.first:
                print(f"{self.recipe.id}: {deviation}", file=sys.stderr, flush=True)

    def _load_optimizer(self, state: dict[str, Any]) -> None:
        try:
            self.optimizer.load_state_dict(state["optimizer"])
        except ValueError as error:
            raise WsisError(f"{self.recipe.id}: {state['recipe']}'s optimiser doesn't fit: {error}") from None
        if state["scaler"]:
            self.fabric.strategy.precision.load_state_dict(state["scaler"])

    def optimizer_state(self) -> dict[str, Any]:
        """ "optimizer" and "scaler" of a checkpoint."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.fabric.strategy.precision.state_dict(),
        }

    def save(self, done: int, log: StepLog | None) -> None:
        """Write a checkpoint of `done` iterations; every rank calls it, log: the first one's."""
        if local := local_state(self.method, self.world):
            save_local(self.folder, done, self.rank, local)
        states = self.gather(rng_state(self.device))
        if log:
            content = {
                "recipe": self.recipe.id,
                "iteration": done,
                "model": self.method.state_dict(),
                **self.optimizer_state(),
                "rng": states,
                "resumed": self.resumed,
                "log": log.sync(),
                "seconds": self.seconds(),
                "device": device_name(self.device),
                "notes": self.notes,
            }
            save_checkpoint(self.folder, content)
            prune_local(self.folder, {done, self._former})
        self._former = done

    def gather(self, value: Any) -> list[Any]:
        """`value` of every rank, in their order."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        torch.distributed.all_gather_object(values, value)
        return values

    @torch.no_grad()
    def share_buffers(self) -> None:
        """Average batch norm's running statistics, so that all ranks predict with the saved weights."""
        if self.world == 1:
            return
        for buffer in norm_buffers(self.method).values():
            if buffer.is_floating_point():
                torch.distributed.all_reduce(buffer)
                buffer /= self.world

    def seconds(self) -> float:
        """Seconds of the training, those of earlier processes included."""
        return self._before + time.monotonic() - self._begun


def begin(recipe: Recipe, method: Method, parent: Path | None) -> tuple[dict[str, Any] | None, str]:
    """Give a method its first weights, from the file `parent` where the recipe has one.

    Returns two things: the parent's content when the recipe continues it with its optimiser
    (`init.iteration`), else None; and a sentence on the tensors that only one of the two has, '' for none.
    """
    started, odd = None, []
    if parent is not None and recipe.init is not None and recipe.init.iteration:
        started, odd = continue_parent(method, parent, recipe.init.iteration)
    elif parent is not None:
        part = method.mask_part if recipe.model.trained == "masks" else ()
        odd = init_from_parent(method, parent, part)
        odd = [name for name in odd if not name[2:].startswith(part)]  # a base's masks' part may be another
    method.begin()
    parts = Counter(name.split(".")[0] for name in odd)
    told = ", ".join(part if n == 1 else f"{part} ({n} tensors)" for part, n in parts.items())
    return started, f"not common with its parent: {told}" if odd else ""


def norm_buffers(method: nn.Module) -> dict[str, Tensor]:
    """Batch norm's running statistics by name; they live on each rank, and are averaged at the end."""
    return {
        f"{name}.{key}": buffer
        for name, module in method.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is not None
        for key, buffer in module.named_buffers(recurse=False)
    }


def local_state(method: Method, world: int) -> dict[str, Any]:
    """What this rank alone has; empty when the common checkpoint holds everything."""
    state: dict[str, Any] = {}
    if world > 1:
        state["norms"] = {name: value.cpu() for name, value in norm_buffers(method).items()}
    if memory := method.local_state():
        state["method"] = memory
    return state


def restore_local(method: Method, world: int, folder: Path, iteration: int, rank: int) -> None:
    """Bring back what `local_state` gave at `iteration`, where there was anything to save."""
    if not local_state(method, world):
        return
    state = load_local(folder, iteration, rank) or {}
    for name, buffer in norm_buffers(method).items():
        if name in state.get("norms", {}):
            buffer.copy_(state["norms"][name])
    if "method" in state:
        method.load_local_state(state["method"])
