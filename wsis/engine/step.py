"""What passes between the training loop and a method: batches, losses, a step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wsis.data.loading import Shard
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.shared import images_key, masks_key, shared_stream
from wsis.data.structures import Arriving, Batch
from wsis.methods.base import Method


def batches(method: Method, root: Root, salient: SalientRoot | None, shard: Shard) -> Iterator[list[Batch]]:
    """The training stream of a method (`Method.stream`).

    Runs on a frozen base share what they compute of a batch with the others of their process.
    """
    recipe = method.recipe
    if recipe.model.trained != "masks" or shard.world > 1:
        return method.stream(root, salient, shard)
    key = (images_key(recipe, root, salient, method.cut(root)), shard.micro)
    make = lambda start: method.stream(root, salient, replace(shard, start=start))  # noqa: E731
    return shared_stream(key, masks_key(recipe, root), shard.start, make)


class Item:
    """One micro-batch and its generator; opaque to Fabric, which would cast the boxes to half precision."""

    def __init__(self, batch: Batch, generator: torch.Generator) -> None:
        self.batch, self.generator = batch, generator


class Losses(nn.Module):
    """Gives a method the `forward` that DistributedDataParallel hooks into."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, item: Item) -> dict[str, Tensor]:
        return self.method.losses(item.batch, item.generator)


@dataclass
class Step:
    """A step whose losses may still be on their way from the device.

    local:  M x L, losses of this rank's M micro-batches
    shared: L + 3: the losses' means over all ranks, the gradient's norm, then the requests to stop and to
            write a checkpoint (above 0 where some rank has it)
    watched: scalars of this rank's last micro-batch beside the losses (`Method.watched`)
    """

    iteration: int
    lr: float
    names: list[str]
    local: Tensor
    shared: Arriving
    ids: list[list[int]]
    watched: dict[str, Tensor]
