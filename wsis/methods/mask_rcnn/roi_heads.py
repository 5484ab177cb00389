"""Box and mask heads over regions of interest (RoIs); masks that were dropped leave the mask loss alone.

Shapes: B images, R sampled RoIs of a batch, K of them with mask supervision, D detections of an image,
C classes (label 0 is background here), M x M mask logits of a RoI, H x W network input.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import roi_align

from wsis.data.structures import fetched, sent
from wsis.declare.specs.predict import PredictSpec
from wsis.methods.mask_rcnn.layout import Layout
from wsis.methods.mask_rcnn.pooling import pool
from wsis.methods.mask_rcnn.proposals import box_loss


@dataclass
class Regions:
    """Regions of a batch that are to have masks; lists have an entry an image, of k regions each.

    features: levels; size: (H, W) of the padded images, from which the pooling takes the features' strides
    rois: k x 4 xyxy; labels: k int64 in 1 to C; owners: k int64, the object that a region belongs to (in
    training, when both are on the CPU)
    """

    features: dict[str, Tensor]
    size: tuple[int, int]
    rois: list[Tensor]
    labels: list[Tensor]
    owners: list[Tensor]


@dataclass
class Detections:
    """Detections of one image, best first, in the frame of the network input.

    boxes: D x 4 float32 xyxy, clipped to the image; labels: D int64 in 1 to C; scores: D
    masks: D x M x M float32 logits over the box; None until they are computed
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor | None = None


class MaskRoIHeads(RoIHeads):
    """torchvision's heads with a mask loss over the RoIs whose object has a mask.

    A subclass may choose other RoIs (`supervised`) and another loss (`mask_loss`).
    """

    def __init__(self, channels: int, num_classes: int, layout: Layout, spec: PredictSpec) -> None:
        levels = [str(level) for level in range(len(layout.names))]
        super().__init__(
            pool(levels, layout.box_roi, layout.details.aligned),
            TwoMLPHead(channels * layout.box_roi**2, layout.box_width),
            FastRCNNPredictor(layout.box_width, num_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=layout.roi_samples,
            positive_fraction=0.25,
            bbox_reg_weights=None,
            score_thresh=spec.score,
            nms_thresh=spec.nms,
            detections_per_img=spec.detections,
            mask_roi_pool=pool(levels, layout.mask_roi, layout.details.aligned),
            mask_head=MaskRCNNHeads(channels, (channels,) * layout.mask_convs, 1),
            mask_predictor=MaskRCNNPredictor(channels, channels, num_classes + 1),
        )
        self.beta = layout.details.box_beta

    def losses(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        size: tuple[int, int],
        targets: list[dict[str, Tensor]],
    ) -> tuple[Regions, dict[str, Tensor]]:
        """The sampled regions of objects, loss_cls and loss_box.

        size: (H, W) of the padded images
        targets: an image: boxes N x 4, labels N in 1 to C
        """
        proposals, matched, labels, deltas = self.select_training_samples(proposals, targets)
        logits, regression = self._boxes(features, proposals, size)
        rois, owners, classes = [], [], []
        counts = [len(label) for label in labels]
        joined = torch.cat(labels)
        loss_cls = F.cross_entropy(logits, joined)
        own = regression.unflatten(1, (-1, 4))[torch.arange(len(joined), device=joined.device), joined]
        loss_box = box_loss(own, torch.cat(deltas), joined > 0, self.beta) / len(joined)
        matched, labels = (x.split(counts) for x in fetched(torch.cat(matched), joined))
        for boxes, index, label in zip(proposals, matched, labels, strict=True):
            positive = (label > 0).nonzero().squeeze(1)
            rois.append(boxes[sent(positive, boxes.device)])
            owners.append(index[positive])
            classes.append(label[positive])
        return Regions(features, size, rois, classes, owners), {"loss_cls": loss_cls, "loss_box": loss_box}

    def loss_mask(self, regions: Regions, targets: list[dict[str, Tensor]]) -> Tensor:
        """The mask loss of the regions whose object is supervised.

        targets: an image: as above, and masks N x H x W bool, has_mask N bool on the CPU
        """
        rois, labels, owners = [], [], []
        for target, *parts in zip(targets, regions.rois, regions.labels, regions.owners, strict=True):
            keep = self.supervised(target)[parts[2]].nonzero().squeeze(1)
            rois.append(parts[0][sent(keep, parts[0].device)])
            labels.append(parts[1][keep])
            owners.append(parts[2][keep])
        masks = self.mask_logits(regions.features, rois, regions.size, torch.cat(labels))
        # Without RoIs the logits are empty; their sum is a zero that gives every mask parameter a gradient.
        return self.mask_loss(masks, rois, owners, targets) if len(masks) else masks.sum()

    def detect(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        size: tuple[int, int],
        inner: list[tuple[int, int]],
    ) -> tuple[Regions, list[Detections]]:
        """Detections of each image, without masks; inner: (height, width) of the images in their padding."""
        boxes, scores, labels = self.postprocess_detections(
            *self._boxes(features, proposals, size), proposals, inner
        )
        detections = [Detections(*parts) for parts in zip(boxes, labels, scores, strict=True)]
        return Regions(features, size, boxes, labels, []), detections

    def _boxes(
        self, features: dict[str, Tensor], rois: list[Tensor], size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Class logits R x (C + 1) and box regression R x 4 (C + 1) of the images' RoIs, float32."""
        pooled = self.box_roi_pool(features, rois, [size] * len(rois))
        logits, regression = self.box_predictor(self.box_head(pooled))
        return logits.float(), regression.float()

    def classes(self, features: dict[str, Tensor], boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """The likeliest class of each of an image's boxes, background left out: k int64 from 0."""
        return self._boxes(features, [boxes], size)[0][:, 1:].argmax(1)

    def masked(self, regions: Regions, detections: list[Detections]) -> list[Detections]:
        """Detections with the masks of their regions."""
        masks = self.mask_logits(regions.features, regions.rois, regions.size, torch.cat(regions.labels))
        by_image = masks.split([len(boxes) for boxes in regions.rois])
        return [replace(image, masks=masks) for image, masks in zip(detections, by_image, strict=True)]

    def mask_logits(
        self, features: dict[str, Tensor], rois: list[Tensor], size: tuple[int, int], labels: Tensor
    ) -> Tensor:
        """Logits of each RoI for its class: K x M x M float32."""
        pooled = self.mask_roi_pool(features, rois, [size] * len(rois))
        logits = self.mask_predictor(self.mask_head(pooled)).float()
        return logits[torch.arange(len(labels), device=logits.device), sent(labels, logits.device)]

    def supervised(self, target: dict[str, Tensor]) -> Tensor:
        """Which objects of an image take part in the mask loss: N bool on the CPU."""
        return target["has_mask"]

    def mask_loss(
        self, logits: Tensor, rois: list[Tensor], owners: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> Tensor:
        """The loss of K > 0 RoIs: `pixel_loss`."""
        return pixel_loss(logits, rois, owners, targets)


def pixel_loss(
    logits: Tensor, rois: list[Tensor], owners: list[Tensor], targets: list[dict[str, Tensor]]
) -> Tensor:
    """Mean binary cross-entropy over the cells of the K RoIs (Mask R-CNN, Sec. 3); K > 0.

    logits: K x M x M; rois, owners: per image, k x 4 and the object that each belongs to
    """
    side = logits.shape[-1]
    wanted = [
        roi_targets(target["masks"], boxes, owner, side)
        for target, boxes, owner in zip(targets, rois, owners, strict=True)
        if len(boxes)
    ]
    return F.binary_cross_entropy_with_logits(logits, torch.cat(wanted))


def roi_targets(masks: Tensor, rois: Tensor, owners: Tensor, side: int) -> Tensor:
    """The share of each RoI cell that its object covers, bilinearly.

    masks: N x H x W bool; rois: k x 4 xyxy pixels; owners: k int64 on the CPU, the mask of each.
    Returns k x side x side float in [0, 1].
    """
    needed, place = owners.unique(return_inverse=True)  # only those masks become float
    boxes = torch.cat([sent(place, rois.device)[:, None].to(rois), rois], 1)
    of_objects = masks[sent(needed, rois.device), None].to(rois)
    return roi_align(of_objects, boxes, (side, side), aligned=True)[:, 0]
