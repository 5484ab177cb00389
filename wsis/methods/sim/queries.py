"""SIM on Mask2Former: BoxInst's losses, pseudo masks and copy-paste, on every prediction of the decoder.

An object's only positive is its query, and prototypes lie among the pixel decoder's mask features. The
momentum network's query is that of the student's last prediction.
Shapes: B images, G objects of the batch, M with a query, H x W mask grid, that of the features.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsis.data.structures import Batch, sent
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.losses.projection import grid_rectangles
from wsis.methods.boxinst.queries import BoxInstQueries
from wsis.methods.mask2former.matching import Matches
from wsis.methods.mask2former.method import everything
from wsis.methods.mask2former.network import Queries, QueryNetwork
from wsis.methods.mask_predictions import MaskPredictions
from wsis.methods.sim.momentum import average
from wsis.methods.sim.paste import Composite
from wsis.methods.sim.taught import SelfTaught, Student
from wsis.methods.sim.view import ObjectView, unit


@dataclass
class QueryView(ObjectView):
    """masks: M x H x W float logits, of the queries of `objects`."""

    masks: Tensor

    def instances(self, mus: list[float]) -> list[Tensor]:
        """The masks of the queries; mu has nothing to weigh."""
        maps = self.masks.new_zeros(len(self.owner), *self.masks.shape[1:])
        return [maps.index_copy(0, self.objects, self.masks.sigmoid())] * len(mus)


class MomentumQueries(nn.Module):
    """F' (Sec. 3.4): a slow copy of the whole network, without gradient, which keeps to its statistics."""

    def __init__(self, network: QueryNetwork) -> None:
        super().__init__()
        self.network = deepcopy(network).requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> MomentumQueries:
        return super().train(False)

    @torch.no_grad()
    def forward(self, batch: Batch) -> Queries:
        return self.network(batch.images, batch.sizes)

    @torch.no_grad()
    def follow(self, student: BoxInstQueries, momentum: float) -> None:
        """Weights w become momentum * w + (1 - momentum) * student's; buffers are copied. 0: a plain copy."""
        average([(self.network, student.network)], momentum)


class SIMQueries(SelfTaught, BoxInstQueries):
    """BoxInst on Mask2Former's network, which teaches itself."""

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe, num_classes)
        if self.released:
            raise WsisError(
                "model.head mask2former: sim.momentum 'released' is the code's detector on CondInst; set copy"
            )

    def momentum_network(self) -> MomentumQueries:
        return MomentumQueries(self.network)

    @property
    def feature_channels(self) -> int:
        return self.network.channels

    def on_grid(self, features: Tensor) -> Tensor:
        return features.float()

    def student(
        self, batch: Batch, composite: Composite, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Student]:
        batch = composite.batch
        scene = self.scene(batch)
        matches = self.matches(batch, scene)
        masks = self.mask_predictions(batch, scene, matches)
        student = Student(masks, scene.features, self._view(batch, matches))
        return self.class_losses(batch, scene, matches), student

    def _pseudo_losses(self, masks: MaskPredictions, view: ObjectView, *labels: object) -> dict[str, Tensor]:
        """Summed over the decoder's predictions, as the other losses are."""
        losses = super()._pseudo_losses(masks, view, *labels)
        return {name: self.predictions * loss for name, loss in losses.items()}

    def totals(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """BoxInst's of the batch after pasting, and the numbers of pasted and other objects."""
        composite, _ = self._composite(batch, generator)
        totals = super().totals(composite.batch, generator)
        if self.recipe.normalise == "device":
            return totals
        pasted = torch.cat(composite.pasted)
        return totals | {"pasted": pasted.sum(), "others": (~pasted).sum()}

    @torch.no_grad()
    def view(self, batch: Batch) -> QueryView:
        """What the momentum network sees of a batch with its boxes."""
        return self._view(batch, self.matches(batch, self.scene(batch)))

    @torch.no_grad()
    def _view(self, batch: Batch, matches: Matches) -> QueryView:
        scene = self.momentum(batch)
        raw = scene.features.float()
        boxes = torch.cat([target.boxes for target in batch.targets])
        owner = everything(batch).image
        objects = matches.object[-1]
        covered = torch.zeros(len(owner), dtype=torch.bool).index_fill_(0, objects, True)
        image, query = sent(torch.stack([matches.image, matches.query[-1]]), raw.device)
        return QueryView(
            features=unit(raw),
            raw=raw,
            owner=owner,
            labels=torch.cat([target.labels for target in batch.targets]),
            rectangles=sent(grid_rectangles(boxes, self.layout.out_stride, *raw.shape[-2:]), raw.device),
            covered=sent(covered, raw.device),
            objects=sent(objects, raw.device),
            masks=scene.masks[-1][image, query].float(),
        )
