"""What passes between the training loop and a method in one step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsis.data.structures import Batch


class Item:
    """One shard and its generator; opaque to Fabric, which would cast the boxes to half precision."""

    def __init__(self, batch: Batch, generator: torch.Generator) -> None:
        self.batch, self.generator = batch, generator


class Losses(nn.Module):
    """Gives a method the `forward` that DistributedDataParallel hooks into."""

    def __init__(self, method: nn.Module) -> None:
        super().__init__()
        self.method = method

    def forward(self, item: Item) -> dict[str, Tensor]:
        return self.method.losses(item.batch, item.generator)


@dataclass
class Step:
    """A step whose losses may still be on their way from the device.

    local: M x L, losses of this rank's M micro-batches; shared: L + 2 on the CPU, their mean over all ranks
    followed by the request to stop and the request to write a checkpoint (above 0: some rank has it), to be
    read after `ready`.
    """

    iteration: int
    lr: float
    names: list[str]
    local: Tensor
    shared: Tensor
    ready: torch.cuda.Event | None
    ids: list[list[int]]
