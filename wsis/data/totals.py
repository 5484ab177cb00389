"""What the losses of a part of a batch are divided by, so that the parts' losses make up the batch's.

A batch is split over devices and accumulation steps into shards of as many images each, and the mean of the
shards' losses is minimised. A loss that is a mean over objects, say, is then the batch's only where shards
have equally many of them. Totals of the whole batch make it so wherever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Totals:
    """Sums over a batch and over one shard of it, by name; scalars on the losses' device.

    A name that is not among them stands for a total that the shard is alone with: it is normalised by itself.

    shards: into how many the batch is split
    batch:  name -> total of the batch
    shard:  name -> this shard's part of it
    """

    shards: int = 1
    batch: Mapping[str, Tensor] = field(default_factory=dict)
    shard: Mapping[str, Tensor] = field(default_factory=dict)

    def share(self, name: str, own: Tensor, least: float = 1.0) -> Tensor:
        """What a sum over this shard is divided by: the batch's total over the number of shards.

        own: the shard's total, where no other is known; least: of the total that is divided by
        """
        if name not in self.batch:
            return own.clamp(min=least)
        return self.batch[name].clamp(min=least) / self.shards

    def weight(self, name: str) -> Tensor | float:
        """What a mean over this shard is multiplied with: its total over its fair share of the batch's."""
        if name not in self.batch:
            return 1.0
        return self.shard[name] / self.share(name, self.shard[name])


ALONE = Totals()
