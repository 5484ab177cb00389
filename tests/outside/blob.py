"""A method in one file: it learns one box, the mean of all, and its mask is that box."""

from __future__ import annotations

import torch
from pycocotools import mask as rle
from torch import Tensor, nn

from wsis.data.structures import Batch, Instances, Sample
from wsis.declare.recipe import Recipe
from wsis.methods.base import Method
from wsis.methods.info import Info

INFO = Info(name="blob", network="blob:Blob", like="boxinst")


class Blob(Method):
    """One box for every image, learnt as a share of its sides; its mask is the box."""

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe)
        self.box = nn.Parameter(torch.tensor([0.2, 0.2, 0.8, 0.8]))

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Distance of the box from the mean box of the batch."""
        height, width = batch.images.shape[-2:]
        boxes = torch.cat([target.boxes for target in batch.targets])
        size = boxes.new_tensor([width, height, width, height])
        return {"loss_box": (self.box - boxes.mean(0) / size).abs().mean()}

    def predict(self, samples: list[Sample]) -> list[Instances]:
        """The box, as an instance of the first class."""
        return [self._instance(*sample.size) for sample in samples]

    def _instance(self, height: int, width: int) -> Instances:
        box = self.box.detach().clamp(0, 1) * self.box.new_tensor([width, height, width, height])
        x1, y1, x2, y2 = box.round().int().tolist()
        mask = torch.zeros(height, width, dtype=torch.uint8)
        mask[y1:y2, x1:x2] = 1
        code = rle.encode(mask.numpy().copy(order="F"))
        return Instances(box[None], torch.zeros(1, dtype=torch.long), torch.ones(1), [code])
