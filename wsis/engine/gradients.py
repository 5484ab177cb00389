"""Gradients of a batch: forward and backward of this process's shards, exchange, norm."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from wsis.data.structures import Batch
from wsis.engine.seeding import seed_of
from wsis.engine.shards import give_totals
from wsis.engine.state import TrainState
from wsis.engine.step import Item


class Gradients:
    """Computes what a step of the optimiser needs; nothing here waits for the device."""

    def __init__(self, state: TrainState, micro: int) -> None:
        """micro: micro-batches of a process in an iteration."""
        self.state, self.micro = state, micro
        self.generator = torch.Generator()  # on the CPU whatever the device, so that draws don't depend on it

    def compute(self, iteration: int, micros: list[Batch]) -> tuple[list[str], Tensor]:
        """Add the batch's gradients; returns the losses' names, and their values, micro-batches x losses."""
        state, names = self.state, list[str]()
        rows: list[Tensor] = []
        micros = [batch.to(state.device) for batch in micros]
        if state.world * self.micro > 1:
            own = [state.method.totals(batch, self._draws(iteration, m)) for m, batch in enumerate(micros)]
            give_totals(micros, own, state.world)
        for m, batch in enumerate(micros):
            waits = state.world > 1 and m + 1 < self.micro  # only the last micro-batch exchanges gradients
            with state.fabric.no_backward_sync(state.module) if waits else nullcontext():
                losses = state.module(Item(batch, self._draws(iteration, m)))
                names = sorted(losses)
                row = torch.stack([losses[name] for name in names])
                state.fabric.backward(row.sum() / self.micro)
            rows.append(row.detach())
        return names, torch.stack(rows)

    def _draws(self, iteration: int, m: int) -> torch.Generator:
        """The generator of this rank's micro-batch m, at its start."""
        shard = m * self.state.world + self.state.rank
        return self.generator.manual_seed(seed_of(self.state.recipe.seed, iteration, shard))

    def clip(self) -> Tensor:
        """The gradient's norm, a scalar on the device, before it is clipped where the recipe asks for it."""
        state = self.state
        if most := state.recipe.schedule.clip:
            return state.fabric.clip_gradients(
                state.module, state.optimizer, max_norm=most, error_if_nonfinite=False
            )
        return get_total_norm(p.grad for p in state.module.parameters() if p.grad is not None)
