"""What methods on Mask2Former's network share: matching, the class loss, masks of queries, predictions.

Every prediction of the decoder is matched and has all losses (deep supervision).
Shapes: B images, Q queries, C classes, L predictions, G objects of the batch, M matched of them,
H x W mask grid, a quarter of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsis.data.structures import Batch, BoxMask, BoxSample, Instances, Sample, fetched, sent
from wsis.declare.recipe import Recipe
from wsis.losses.projection import grid_rectangles
from wsis.methods.boxed import boxed_masks
from wsis.methods.fill import certainties, cut_to_boxes, resized
from wsis.methods.mask2former.inference import best, encode, instances
from wsis.methods.mask2former.matching import Matches, match, shadow_costs
from wsis.methods.mask2former.network import STRIDE, Queries, QueryNetwork
from wsis.methods.mask_predictions import MaskPredictions, average_weights, averaged, masked_objects
from wsis.methods.padding import padded_images, sizes_of
from wsis.methods.parts import Parts
from wsis.nn.backbones import BACKBONES

NO_OBJECT = 0.1  # weight of queries without an object in the class loss (Mask2Former's code)


class Mask2Former(Parts):
    """The network, its class loss and inference; a subclass brings `mask_losses`."""

    idle = False

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe)
        self.num_classes = num_classes
        self.layout = replace(BACKBONES[recipe.model.backbone].layout, mask_stride=2 * STRIDE)
        self.network = QueryNetwork(recipe.model, num_classes)
        self.predictions = self.network.predictions
        self.set_trained()

    def towers(self) -> list[nn.Module]:
        backbone = self.network.backbone
        return [] if backbone.frozen else [backbone.body]

    def scene(self, batch: Batch) -> Queries:
        """What the network sees in a batch."""
        return self.network(batch.images, batch.sizes)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """loss_cls and the masks' losses, each summed over the L predictions."""
        scene = self.scene(batch)
        matches = self.matches(batch, scene)
        masks = self.mask_predictions(batch, scene, matches)
        return self.class_losses(batch, scene, matches) | self.mask_losses(batch, masks)

    def mask_losses(self, batch: Batch, masks: MaskPredictions) -> dict[str, Tensor]:
        """The masks' losses, each summed over the L predictions."""
        raise NotImplementedError

    def matches(self, batch: Batch, scene: Queries) -> Matches:
        """Queries of the batch's objects, by costs that have the losses' weights."""
        weights = self.recipe.loss.weights
        return match(scene, batch.targets, weights.detection, weights.projection)

    def class_losses(self, batch: Batch, scene: Queries, matches: Matches) -> dict[str, Tensor]:
        """Cross-entropy over classes and 'no object', which counts a tenth; a weighted mean over queries."""
        device = scene.classes.device
        labels = torch.cat([target.labels for target in batch.targets])[matches.object]
        truth = torch.full(scene.classes.shape[:3], self.num_classes)
        truth[torch.arange(self.predictions)[:, None], matches.image, matches.query] = labels
        weights = torch.ones(self.num_classes + 1, device=device)
        weights[-1] = NO_OBJECT
        truth = sent(truth, device)
        sums = F.cross_entropy(scene.classes.flatten(0, 2), truth.flatten(), weights, reduction="sum")
        own = scene.classes.new_full((), _class_weight(matches.image.numel(), truth[0].numel()))
        share = batch.totals.share("queries", own)
        return {"loss_cls": self.recipe.loss.weights.detection * sums / share}

    def mask_predictions(self, batch: Batch, scene: Queries, matches: Matches) -> MaskPredictions:
        """Masks of the matched queries of all predictions, one after the other: N = L M."""
        query, image = sent(matches.query, scene.features.device), sent(matches.image, scene.features.device)
        logits = [masks[image, of] for masks, of in zip(scene.masks, query, strict=True)]
        objects = matches.object.flatten()
        boxes = torch.cat([target.boxes for target in batch.targets])[objects]
        weights = average_weights(objects, self.recipe.loss.average)
        masked = masked_objects(batch.targets)[objects]
        image = matches.image.repeat(self.predictions)
        return MaskPredictions(torch.cat(logits).float(), image, objects, weights, boxes, masked)

    def totals(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights of the class loss, and what the masks' losses are means over.

        As if every object had a query, which is so where there are at most Q in each image.
        """
        queries = len(batch.targets) * self.network.head.config.num_queries
        every = everything(batch)
        totals = {"queries": torch.tensor(_class_weight(len(every.image), queries))}
        return totals if self.recipe.normalise == "device" else totals | self.mask_totals(batch, every)

    def mask_totals(self, batch: Batch, kept: Matches) -> dict[str, Tensor]:
        """What the mask losses of a shard's objects are means over."""
        of = averaged(kept.object, self.recipe.loss.average)
        return {"locations": torch.tensor(float(len(kept.object))), "instances": torch.tensor(float(of))}

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample]) -> list[Instances]:
        """Instances of each image, best first, in the frame of the original image."""
        scene = self._seen(samples)
        kept = best(scene.classes[-1], self.recipe.predict.detections)
        parts = zip(samples, scene.masks[-1], *kept, strict=True)
        return [instances(sample, self.recipe.predict, *of_image) for sample, *of_image in parts]

    @torch.no_grad()
    def fill(self, samples: Sequence[BoxSample]) -> list[list[BoxMask]]:
        """Masks of given boxes: of the query whose shadows fit the box best, cut to the box."""
        return [self._fill(sample) for sample in samples]

    def _fill(self, given: BoxSample) -> list[BoxMask]:
        sample, boxes = resized(given, self.recipe.data)
        scene = self._seen([sample])
        rectangles = grid_rectangles(boxes, STRIDE, *scene.features.shape[-2:])
        query = shadow_costs(scene.masks[-1][0], rectangles).argmin(0)
        logits, labels = scene.masks[-1][0][query].float(), scene.classes[-1, 0, query, :-1].argmax(1)
        certain, labels = fetched(certainties(logits, sent(boxes, logits.device), STRIDE), labels)
        kind = self.recipe.predict.masks
        masks = encode(logits, sample)[1] if kind == "predicted" else boxed_masks(kind, given.boxes, sample)
        masks = cut_to_boxes(masks, given.boxes, sample.size)
        return [BoxMask(*each) for each in zip(masks, certain.tolist(), labels.tolist(), strict=True)]

    def _seen(self, samples: Sequence[Sample]) -> Queries:
        return self.network(padded_images(samples, self.iteration.device), sizes_of(samples))


def everything(batch: Batch) -> Matches:
    """All objects of a batch, whatever their queries."""
    image = torch.repeat_interleave(torch.tensor([len(target.boxes) for target in batch.targets]))
    return Matches(image, torch.zeros_like(image), torch.arange(len(image)))


def _class_weight(matched: int, queries: int) -> float:
    """What the class loss of so many queries is divided by."""
    return matched + NO_OBJECT * (queries - matched)
