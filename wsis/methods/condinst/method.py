"""CondInst: FCOS detects, a controller at each location writes the weights of a small mask head.

Shapes: B images, P locations, N kept instances, H x W network input, s the stride of the mask logits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from wsis.data.structures import Batch, BoxMask, BoxSample, Instances, Sample, fetched, sent
from wsis.data.totals import Totals
from wsis.declare.recipe import Recipe
from wsis.losses.detection import Positives, assign, detection_losses, detection_totals
from wsis.losses.dice import dice_loss
from wsis.losses.projection import grid_masks
from wsis.methods.condinst.dynamic_head import dynamic_masks, parameter_count
from wsis.methods.condinst.fcos import FCOSHead, locations, neighbourhoods, of_levels
from wsis.methods.condinst.given import locations_of
from wsis.methods.condinst.inference import Detections, decode, encode_masks
from wsis.methods.condinst.mask_branch import MaskBranch
from wsis.methods.condinst.proposals import keep_proposals
from wsis.methods.fill import certainties, cut_to_boxes, resized
from wsis.methods.mask_predictions import MaskPredictions, average_weights, averaged, masked_objects
from wsis.methods.padding import padded_images, sizes_of
from wsis.methods.parts import Parts
from wsis.nn.frozen import Size
from wsis.nn.pyramid import Pyramid


@dataclass
class Scene:
    """What the detector sees in some images: all that the masks' part reads.

    pyramid: named features (`wsis.nn.pyramid.Pyramid`); outputs: of the FCOS head
    points: P x 2 float (x, y) pixels, levels: P int64, of every location
    around: P x 9 int64, the tower's cells around it (`wsis.methods.condinst.fcos.neighbourhoods`)
    """

    pyramid: dict[str, Tensor]
    outputs: dict[str, Tensor]
    points: Tensor
    levels: Tensor
    around: Tensor


class CondInst(Parts):
    """The network, its detection losses, the dice loss on given masks, and inference.

    Its base is the detector. Alone, it is trained without computing masks; frozen, what it sees in a batch is
    kept on the batch, so that runs on the same detector compute it once.
    """

    mask_part = ("mask_branch.", "head.controller.")
    idle = False

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe)
        spec = recipe.model
        self.num_classes = num_classes
        self.pyramid = Pyramid(spec)
        self.layout = replace(self.pyramid.layout, official=spec.details == "official")
        self.mask_branch = MaskBranch(self.pyramid.channels, spec.mask_channels, self.layout)
        parameters = parameter_count(spec.mask_channels, spec.head_channels)
        self.head = FCOSHead(spec.channels, spec.tower_convs, num_classes, parameters, self.layout)
        self.set_trained()

    def towers(self) -> list[nn.Module]:
        return [*self.pyramid.towers(), self.head, self.mask_branch]

    def detect(self, images: Tensor, sizes: list[Size] | None = None) -> Scene:
        """B x 3 x H x W uint8 -> what the detector sees, without gradients where it is frozen.

        sizes: (h, w) of each image without padding, for a frozen backbone
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            pyramid = self.pyramid(images, sizes)
            outputs = self.head(pyramid)
        size, device = images.shape[-2:], images.device
        points, levels = locations(*size, self.layout, device)
        return Scene(pyramid, outputs, points, levels, neighbourhoods(*size, self.layout, device))

    def scene(self, batch: Batch) -> Scene:
        """`detect` of a batch; of a frozen detector it is computed once a batch for all runs on it."""
        return self.of_base(batch, lambda: self.detect(batch.images, batch.sizes))

    def positives(self, batch: Batch) -> Positives:
        """The batch's positive locations; they depend on its boxes, and with `official` on masks."""
        find = lambda: assign(*batch.images.shape[-2:], self.layout, batch.targets)  # noqa: E731
        return find() if self.layout.official else batch.once(("positives", self.layout), find)

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Named scalar losses of a training batch, of what the recipe trains."""
        scene = self.scene(batch)
        positives = self.positives(batch)
        losses = self.detection_losses(scene, positives, batch.totals)
        if self.recipe.model.trained == "base":
            return losses
        features = self.mask_branch(scene.pyramid)
        masks = self.mask_predictions(batch, scene, features, positives, generator)
        return losses | self.mask_losses(batch, masks)

    def totals(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of FCOS' losses; and of the masks' where `loss.normalise` asks for it."""
        positives = self.positives(batch)
        totals = detection_totals(positives)
        if self.recipe.model.trained == "base" or self.recipe.normalise == "device":
            return totals
        return totals | self.mask_totals(batch, self.kept(batch, positives, None, generator))

    def mask_totals(self, batch: Batch, kept: Positives) -> dict[str, Tensor]:
        """What the mask losses of a shard's kept positives are means over."""
        of = averaged(kept.object, self.recipe.loss.average)
        return {"locations": torch.tensor(float(len(kept.object))), "instances": torch.tensor(float(of))}

    def detection_losses(self, scene: Scene, positives: Positives, totals: Totals) -> dict[str, Tensor]:
        """FCOS's losses, weighted; none of a frozen detector."""
        if self.frozen:
            return {}
        weight = self.recipe.loss.weights.detection
        losses = detection_losses(scene.outputs, positives, totals, self.layout.official)
        return {name: weight * loss for name, loss in losses.items()}

    def mask_predictions(
        self,
        batch: Batch,
        scene: Scene,
        features: Tensor,
        positives: Positives,
        generator: torch.Generator,
    ) -> MaskPredictions:
        """Keep some of the positives that have mask supervision and compute their mask logits."""
        boxes = torch.cat([t.boxes for t in batch.targets])
        masked = masked_objects(batch.targets)
        positives = self.kept(batch, positives, scene.outputs, generator)
        image, objects = positives.image, positives.object
        logits = self.mask_logits(features, image, positives.location, scene)
        weights = average_weights(objects, self.recipe.loss.average)
        return MaskPredictions(logits, image, objects, weights, boxes[objects], masked[objects])

    def kept(
        self,
        batch: Batch,
        positives: Positives,
        outputs: dict[str, Tensor] | None,
        generator: torch.Generator,
    ) -> Positives:
        """Those of the positives that get a mask loss.

        outputs: of the FCOS head; without them the right number of each object's is kept.
        """
        spec, images = self.recipe.loss, len(batch.targets)
        positives = positives.where(self.supervised(masked_objects(batch.targets)[positives.object]))
        scores = torch.zeros(len(positives.image))
        if spec.proposals == "topk" and outputs is not None:
            scores = _scores(outputs, positives)
        return positives.where(keep_proposals(positives, scores, spec, images, generator))

    def supervised(self, masked: Tensor) -> Tensor:
        """Which instances get a mask loss, given which have a mask; N bool -> N bool."""
        return masked

    def mask_logits(self, features: Tensor, image: Tensor, location: Tensor, scene: Scene) -> Tensor:
        """N x H/s x W/s float32 logits of instances given by image and location.

        image: N int64 ascending, on the CPU; location: N int64 on any device. Without instances the result is
        empty but still depends on the features: every parameter must get a gradient on every device, or
        several of them would wait for each other.
        """
        device = features.device
        location = sent(location, device)
        parameters = self.head.controller(scene.outputs["tower"], sent(image, device), scene.around[location])
        points = scene.points[location]
        radii = of_levels(self.layout.radii, device)[scene.levels[location]]
        hidden = self.recipe.model.head_channels
        height, width = features.shape[-2:]
        if len(image) == 0:
            none = parameters.new_zeros(0, 2 * height, 2 * width)
            return none + (features.sum() + parameters.sum()) * 0.0
        return dynamic_masks(features.float(), image, parameters, points, radii, self.layout, hidden)

    def mask_losses(self, batch: Batch, masks: MaskPredictions) -> dict[str, Tensor]:
        """loss_dice on the instances whose mask is given; the others are discarded."""
        return {"loss_dice": self.dice(batch, masks, masks.masked)}

    def dice(self, batch: Batch, masks: MaskPredictions, chosen: Tensor) -> Tensor:
        """Dice loss of the chosen instances (N bool), summed and divided by N (CondInst: a mean over N).

        N is the batch's, of which this may be a shard.

        Zero, with a gradient path, when there is none.
        """
        if not chosen.any():
            return masks.logits.sum() * 0.0
        part = masks.where(chosen)
        loss = dice_loss(part.logits.sigmoid(), self.target_masks(batch, part)).sum() / len(chosen)
        return loss * batch.totals.weight("locations")

    def target_masks(self, batch: Batch, masks: MaskPredictions) -> Tensor:
        """Given masks of the instances on the logits' grid: N x H/s x W/s bool."""
        stride, official = self.layout.out_stride, self.layout.official
        grids = [grid_masks(t.masks, stride, official) for t in batch.targets]  # once an object
        return torch.cat(grids)[sent(masks.object, masks.logits.device)]

    @torch.no_grad()
    def predict(self, samples: list[Sample]) -> list[Instances]:
        """Instances of each image, best first, in the frame of the original image."""
        scene, detections = self._detections(samples)
        features = self.mask_branch(scene.pyramid)
        results = []
        for index, (sample, kept) in enumerate(zip(samples, detections, strict=True)):
            image = torch.full((len(kept.location),), index)
            logits = self.mask_logits(features, image, kept.location, scene)
            results.append(encode_masks(kept, logits, self.layout, sample, self.recipe.predict))
        return results

    @torch.no_grad()
    def fill(self, samples: list[BoxSample]) -> list[list[BoxMask]]:
        """Masks of given boxes, an image at a time: those of the locations that stand for them."""
        return [self._fill(sample) for sample in samples]

    def _fill(self, given: BoxSample) -> list[BoxMask]:
        sample, boxes = resized(given, self.recipe.data)
        images = padded_images([sample], self.iteration.device)
        scene = self.detect(images, sizes_of([sample]))
        location = locations_of(boxes, scene.outputs["boxes"][0].cpu(), images.shape[-2:], self.layout)
        logits = self.mask_logits(
            self.mask_branch(scene.pyramid), torch.zeros_like(location), location, scene
        )
        location, boxes = sent(location, logits.device), sent(boxes, logits.device)
        scores, labels = scene.outputs["logits"][0][location].sigmoid().max(1)
        kept = Detections(boxes, scores, labels, location)
        masks = encode_masks(kept, logits, self.layout, sample, self.recipe.predict).masks
        masks = cut_to_boxes(masks, given.boxes, sample.size)
        certain, labels = fetched(certainties(logits, boxes, self.layout.out_stride), labels)
        return [BoxMask(*each) for each in zip(masks, certain.tolist(), labels.tolist(), strict=True)]

    def _detections(self, samples: list[Sample]) -> tuple[Scene, list[Detections]]:
        """The scene of some images and each image's detections; computed once for all runs if frozen."""
        spec = self.recipe.predict.model_copy(update={"masks": "predicted"})  # boxes don't depend on it
        key = (spec.model_dump_json(), self.layout.official, *(sample.id for sample in samples))
        return self.of_base(samples[0], lambda: self._detect_samples(samples), *key)

    def _detect_samples(self, samples: list[Sample]) -> tuple[Scene, list[Detections]]:
        sizes, spec = sizes_of(samples), self.recipe.predict
        scene = self.detect(padded_images(samples, self.iteration.device), sizes)
        return scene, decode(scene.outputs, scene.points, scene.levels, self.layout, sizes, spec)


@torch.no_grad()
def _scores(outputs: dict[str, Tensor], positives: Positives) -> Tensor:
    """Of each positive, max over classes of sigmoid(cls) * sigmoid(centerness): M float on the CPU."""
    where = tuple(sent(torch.stack([positives.image, positives.location]), outputs["logits"].device))
    return (outputs["logits"][where].sigmoid().amax(1) * outputs["centerness"][where].sigmoid()).cpu()
