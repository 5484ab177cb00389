"""A batch in shards: what all of them have together, and how its training differs from that of one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from wsis.data.structures import sent
from wsis.data.totals import Totals
from wsis.declare.recipe import Recipe
from wsis.methods.parts import NORM


def batch_totals(own: Sequence[Mapping[str, Tensor]], world: int, device: torch.device) -> list[Totals]:
    """The totals of a batch, as each of this process's shards needs them; every process calls it.

    own: `Method.totals` of each of them. Nothing waits for the device.
    """
    names = sorted(own[0])
    if not names:
        return [Totals() for _ in own]
    rows = torch.stack([torch.stack([sent(row[name], device).double() for name in names]) for row in own])
    whole = rows.sum(0)
    if world > 1:
        torch.distributed.all_reduce(whole)
    batch = dict(zip(names, whole.float().unbind(), strict=True))
    shards = world * len(own)
    return [Totals(shards, batch, dict(zip(names, row.float().unbind(), strict=True))) for row in rows]


def shard_deviations(recipe: Recipe, network: nn.Module, world: int, micro: int) -> list[str]:
    """What a split into world * micro shards changes, other than the paper's devices would have.

    network: in training mode
    """
    schedule, images = recipe.schedule, recipe.schedule.batch // (world * micro)
    usual, notes = schedule.batch // schedule.devices, []
    live = any(isinstance(module, NORM) and module.training for module in network.modules())
    seen, meant = (images * world, schedule.batch) if recipe.sync_norm else (images, usual)
    if live and seen != meant:
        notes.append(f"batch norm over {seen} instead of {meant} images")
    if recipe.normalise == "device" and images != usual:
        notes.append(f"loss.normalise device: means over {images} instead of {usual} images")
    return notes
