"""OCRNet: a dense backbone and object-contextual representations, trained on semantic masks.

Shapes: B images, S x S crop, K classes with background, h x w original image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.annotations import Picture
from wsis.data.loading import Shard, image_tensor
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.data.structures import Instances, SemanticBatch, SemanticSample, fetched, sent
from wsis.declare.recipe import Recipe
from wsis.methods.baiseg.batches import image_of, semantic_batches
from wsis.methods.baiseg.maps import network_input
from wsis.methods.baiseg.semantic_loss import hardest_pixels, semantic_loss
from wsis.methods.boxes.method import encoded
from wsis.methods.ocrnet.context import ContextHead
from wsis.methods.parts import Parts
from wsis.nn.backbones import MEAN, STD, build_backbone

ALL = 1.0  # the share of the pixels that the losses are over


class OCRNet(Parts):
    """The network, its losses, and the regions of an image's classes as instances, at most one a class."""

    idle = False
    one_size = True

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        """num_classes: K - 1."""
        super().__init__(recipe)
        self.backbone = build_backbone(recipe.model, "dense")
        self.head = ContextHead(self.backbone.channels, num_classes + 1, recipe.ocrnet)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(STD)[:, None, None], persistent=False)
        self.set_trained()

    def towers(self) -> list[nn.Module]:
        return [self.backbone]

    def stream(self, root: Root, salient: SalientRoot | None, shard: Shard) -> Iterator[list[SemanticBatch]]:
        return semantic_batches(self.recipe, root, shard)

    def cut(self, root: Root) -> Hashable:
        spec = self.recipe.ocrnet
        return spec.crop, spec.photometric, tuple(root.train.ids.tolist())

    def samples(self, root: Root, rank: int = 0, world: int = 1) -> Iterator[SemanticSample]:
        return map(image_of, root.eval[rank::world])

    def training_samples(self, root: Root, pictures: Sequence[Picture]) -> Iterator[SemanticSample]:
        return map(image_of, pictures)

    def image_sample(self, image: np.ndarray, id: int) -> SemanticSample:
        return SemanticSample(image_tensor(image), image.shape[:2], id)

    def losses(self, batch: SemanticBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean cross entropies of the known pixels: loss_semantic, and loss_regions with its weight."""
        logits = self._logits(batch.images, batch.semantic.shape[-2:])
        share = batch.totals.weight("known pixels")
        pixels, regions = (semantic_loss(each, batch.semantic, ALL) * share for each in logits)
        return {"loss_semantic": pixels, "loss_regions": self.recipe.ocrnet.weight_regions * regions}

    def totals(self, batch: SemanticBatch, generator: torch.Generator) -> dict[str, Tensor]:
        if self.recipe.normalise == "device":
            return {}
        return {"known pixels": hardest_pixels(batch.semantic, ALL)}

    def predict(self, samples: Sequence[SemanticSample]) -> list[Instances]:
        """The region of each class that an image has; the score is its mean probability."""
        return [self._regions(sample) for sample in samples]

    def _regions(self, sample: SemanticSample) -> Instances:
        """One image at a time, at its original size: images rarely have one shape."""
        pixels = network_input(sent(sample.image, self.mean.device))
        logits, _ = self._logits(pixels[None], sample.size)
        certainty, semantic = (each.numpy() for each in fetched(*logits[0].softmax(0).max(0)))
        labels = [int(value) - 1 for value in np.unique(semantic) if value]
        masks = [semantic == label + 1 for label in labels]
        scores = [float(certainty[mask].mean()) for mask in masks]
        return Instances(
            torch.tensor([_box(mask) for mask in masks], dtype=torch.float32).reshape(-1, 4),
            torch.tensor(labels, dtype=torch.int64),
            torch.tensor(scores, dtype=torch.float32).clamp(0, 1),
            [encoded(mask.view(np.uint8)) for mask in masks],
        )

    def _logits(self, images: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """Of the pixels and of the regions: B x 3 x H x W uint8 or float -> B x K x size float32 each."""
        features = self.backbone((images.float() - self.mean) / self.std)
        return [
            F.interpolate(each.float(), size=tuple(size), mode="bilinear", align_corners=False)
            for each in self.head(features)
        ]


def _box(mask: np.ndarray) -> list[int]:
    """xyxy, half-open, around the pixels of h x w bool."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
