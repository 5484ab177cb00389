"""A batch in shards: what all of them have together, and how such a training differs from the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from wsis.data.structures import StepImages, sent
from wsis.data.totals import Totals
from wsis.declare.recipe import Recipe
from wsis.engine.launch import precision_name
from wsis.methods.parts import NORM


def give_totals(shards: Sequence[StepImages], own: Sequence[Mapping[str, Tensor]], world: int) -> None:
    """Set `totals` of this process's shards of a batch; every process calls it, and nothing waits.

    own: `Method.totals` of each shard; world: number of processes, with as many shards each
    """
    names, device = sorted(own[0]), shards[0].images.device
    rows = [[sent(row[name], device).double() for name in names] for row in own]
    values = torch.stack([torch.stack(row) for row in rows]) if names else torch.zeros(len(own), 0)
    whole = values.sum(0)
    if world > 1 and names:
        torch.distributed.all_reduce(whole)
    batch = dict(zip(names, whole.float().unbind(), strict=True))
    for shard, row in zip(shards, values.float(), strict=True):
        shard.totals = Totals(world * len(shards), batch, dict(zip(names, row.unbind(), strict=True)))


def split_deviations(recipe: Recipe, network: nn.Module, fabric: Fabric, micro: int) -> list[str]:
    """What other devices than the paper's change: their number, and what is computed over a shard alone.

    network: in training mode; micro: accumulation steps
    """
    schedule, world = recipe.schedule, fabric.world_size
    notes = []
    if world != schedule.devices:
        steps = f" by {micro} accumulation steps" if micro > 1 else ""
        notes.append(f"{world} device(s) instead of {schedule.devices}, batch {schedule.batch} kept{steps}")
    at_once, usual = schedule.batch // (world * micro), schedule.batch // schedule.devices
    seen, meant = (at_once * world, schedule.batch) if recipe.sync_norm else (at_once, usual)
    if seen != meant and any(isinstance(module, NORM) and module.training for module in network.modules()):
        notes.append(f"batch norm over {seen} instead of {meant} images")
    if at_once != usual and recipe.normalise == "device":
        notes.append(f"losses normalised over {at_once} instead of {usual} images (loss.normalise device)")
    if schedule.precision not in ("auto", precision_name(fabric)):
        notes.append(f"precision {precision_name(fabric)} instead of {schedule.precision}")
    return notes
