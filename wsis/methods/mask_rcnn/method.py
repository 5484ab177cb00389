"""Mask R-CNN: the proxy network of BoxCaseg (Sec. 3.4) and the fully supervised row of its tables.

Shapes: B images, N objects of an image, H x W network input, h x w original image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from wsis.data.loading import MASKED
from wsis.data.structures import PADDING, Batch, BoxMask, BoxSample, Instances, Sample, Targets, fetched, sent
from wsis.declare.recipe import Recipe
from wsis.declare.specs.predict import PredictSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.errors import WsisError
from wsis.methods.boxed import boxed_masks
from wsis.methods.fill import cut_to_boxes, resized
from wsis.methods.mask_rcnn.backbone import Backbone, layout_of
from wsis.methods.mask_rcnn.paste import paste_masks
from wsis.methods.mask_rcnn.proposals import Proposals
from wsis.methods.mask_rcnn.roi_heads import Detections, MaskRoIHeads, Regions
from wsis.methods.parts import Parts


class MaskRCNN(Parts):
    """torchvision's Mask R-CNN behind the engine's faces; images come resized and padded.

    Its base is the detector: backbone, proposals and box head. A frozen base's features and regions are kept
    on the batch, its detections in a group of images on the first image.
    """

    mask_part = ("roi_heads.mask_",)
    idle = False
    needs_masks = True

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe)
        learns_masks = self.needs_masks and recipe.model.trained != "base"
        if learns_masks and recipe.data.supervision not in MASKED:
            raise WsisError(
                f"method '{recipe.method}' learns from masks, but data.supervision "
                f"'{recipe.data.supervision}' gives none: set 'masks' or 'proxy', or use method 'bbtp'"
            )
        self.num_classes = num_classes
        self.layout = layout_of(recipe.model)
        self.backbone = Backbone(recipe.model, self.layout)
        channels = self.backbone.out_channels
        self.rpn = Proposals(channels, self.layout, recipe.predict)
        self.roi_heads = self.roi_heads_type(channels, num_classes, self.layout, recipe.predict)
        self.set_trained()

    @property
    def roi_heads_type(self) -> type[MaskRoIHeads]:
        """The class of its box and mask heads."""
        return MaskRoIHeads

    def towers(self) -> list[nn.Module]:
        heads = self.roi_heads
        return [*self.backbone.towers(), self.rpn.head, heads.box_head, heads.mask_head]

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """loss_rpn_cls, loss_rpn_box, loss_cls, loss_box, loss_mask, as far as the recipe trains them.

        loss_mask is 0 without any mask. Which anchors and RoIs are sampled depends on `generator` alone.
        """
        targets = [torchvision_target(target, batch.images.device) for target in batch.targets]
        sample = lambda: self.regions(*self.features(batch), targets, generator)  # noqa: E731
        regions, losses = self.of_base(batch, sample, generator.initial_seed())
        if self.recipe.model.trained == "base":
            return losses
        if self.frozen:
            losses = {}
        return losses | {"loss_mask": self.roi_heads.loss_mask(regions, targets)}

    def features(self, batch: Batch) -> tuple[ImageList, dict[str, Tensor]]:
        """A batch's images in one frame, and the backbone's levels of them."""
        images = self._padded(batch.images, batch.sizes)
        return images, self.backbone(images.tensors, images.image_sizes)

    def regions(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[dict[str, Tensor]],
        generator: torch.Generator,
    ) -> tuple[Regions, dict[str, Tensor]]:
        """The sampled regions of some images, and the detector's four losses."""
        with draws_from(generator, images.tensors.device):
            proposals, losses = self.rpn(images, features, targets)
            size = tuple(images.tensors.shape[-2:])
            regions, more = self.roi_heads.losses(features, proposals, size, targets)
            return regions, losses | more

    def parameter_groups(self, schedule: ScheduleSpec) -> list[dict[str, Any]]:
        """Those of every method; biases apart where they learn at another rate (`Details`)."""
        details, groups = self.layout.details, super().parameter_groups(schedule)
        if details.bias_lr == details.bias_decay == 1:
            return groups
        biases = {id(p) for name, p in self.named_parameters() if name.endswith("bias")}
        apart = []
        for group in groups:
            for bias in (False, True):
                chosen = [p for p in group["params"] if (id(p) in biases) == bias]
                rates = {
                    "weight_decay": group["weight_decay"] * (details.bias_decay if bias else 1),
                    "lr_scale": group["lr_scale"] * (details.bias_lr if bias else 1),
                }
                apart += [{"params": chosen, **rates}] if chosen else []
        return apart

    @torch.no_grad()
    def predict(self, samples: list[Sample]) -> list[Instances]:
        """Instances of each image, best first, in the frame of the original image."""
        spec = self.recipe.predict.model_copy(update={"masks": "predicted"})  # boxes don't depend on it
        key = (spec.model_dump_json(), *(sample.id for sample in samples))
        regions, detected = self.of_base(samples[0], lambda: self._detections(samples), *key)
        masked = self.roi_heads.masked(regions, detected)
        padded = self.layout.details.padded
        return [_original(d, s, self.recipe.predict, padded) for d, s in zip(masked, samples, strict=True)]

    @torch.no_grad()
    def fill(self, samples: list[BoxSample]) -> list[list[BoxMask]]:
        """Masks of given boxes, an image at a time: the mask head on the boxes themselves."""
        return [self._fill(sample) for sample in samples]

    def _fill(self, given: BoxSample) -> list[BoxMask]:
        """The mask head has a mask a class: where a box's class is not known, the box head chooses it."""
        sample, boxes = resized(given, self.recipe.data)
        images = self._padded([sample.image], [tuple(sample.image.shape[1:])])
        features, size = self.backbone(images.tensors), tuple(images.tensors.shape[-2:])
        boxes, labels = boxes.to(self.iteration.device), given.labels.to(self.iteration.device)
        if (labels < 0).any():
            labels = torch.where(labels < 0, self.roi_heads.classes(features, boxes, size), labels)
        logits = self.roi_heads.mask_logits(features, [boxes], size, labels + 1)
        certain = (2 * logits.sigmoid() - 1).abs().mean((1, 2)).tolist()
        if self.recipe.predict.masks != "predicted":
            masks = boxed_masks(self.recipe.predict.masks, given.boxes, sample)
        else:
            boxes, padded = given.boxes.to(logits.device), self.layout.details.padded
            masks = paste_masks(logits, boxes, sample.size, padded)
        masks = cut_to_boxes(masks, given.boxes, sample.size)
        return [BoxMask(*each) for each in zip(masks, certain, labels.tolist(), strict=True)]

    def _detections(self, samples: list[Sample]) -> tuple[Regions, list[Detections]]:
        """The boxes detected in a group of images, without masks yet."""
        inner = [tuple(sample.image.shape[1:]) for sample in samples]
        images = self._padded([sample.image for sample in samples], inner)
        features = self.backbone(images.tensors, images.image_sizes)
        proposals, _ = self.rpn(images, features)
        return self.roi_heads.detect(features, proposals, tuple(images.tensors.shape[-2:]), inner)

    def _padded(self, images: Sequence[Tensor], inner: list[tuple[int, int]]) -> ImageList:
        """Images as one tensor; each 3 x h x w uint8, those of a training batch padded already.

        Its sides are multiples of the coarsest stride: torchvision finds strides by dividing sizes.
        inner: (height, width) of each image without padding
        """
        step, device = self.layout.strides[-1], self.iteration.device
        height, width = (-(-max(x.shape[axis] for x in images) // step) * step for axis in (1, 2))
        blank = sent(torch.tensor(PADDING, dtype=torch.uint8), device)[:, None, None]
        pixels = blank.repeat(len(images), 1, height, width)
        for slot, image in zip(pixels, images, strict=True):
            slot[:, : image.shape[1], : image.shape[2]] = sent(image, device)
        return ImageList(pixels, inner)


def torchvision_target(target: Targets, device: torch.device) -> dict[str, Tensor]:
    """boxes, labels from 1 (0 is background), and masks where there are any; has_mask on the CPU."""
    return {
        "boxes": sent(target.boxes, device),
        "labels": sent(target.labels + 1, device),
        "masks": target.masks,
        "has_mask": target.masked,
    }


@contextmanager
def draws_from(generator: torch.Generator, device: torch.device) -> Iterator[None]:
    """Libraries sample from the process-wide generators: seed them for a while, then put them back."""
    seed = int(torch.randint(2**62, (), generator=generator))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _original(detections: Detections, sample: Sample, spec: PredictSpec, padded: bool) -> Instances:
    """Bring boxes and masks back to the original image; padded: see `paste_masks`."""
    height, width = sample.image.shape[1:]
    scale = torch.tensor([sample.size[1] / width, sample.size[0] / height] * 2)
    boxes = detections.boxes * sent(scale, detections.boxes.device)
    if spec.masks == "predicted":
        masks = paste_masks(detections.masks, boxes, sample.size, padded)
    else:
        masks = boxed_masks(spec.masks, boxes, sample)
    boxes, labels, scores = fetched(boxes, detections.labels - 1, detections.scores.float())
    return Instances(boxes, labels, scores, masks)
