"""BBTP's mask losses: the tightness of boxes, and the pixels of salient images.

Every row and column of an object's box crosses the object, those outside it don't: multiple-instance
learning (MIL) over the lines of each RoI's mask, and a smoothness term.

Shapes: B images, K RoIs, M x M mask cells of a RoI.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor
from torchvision.ops import clip_boxes_to_image

from wsis.data.structures import sent
from wsis.declare.specs.predict import PredictSpec
from wsis.methods.boxcaseg.losses import mil_loss, smoothness
from wsis.methods.mask_rcnn.layout import Layout
from wsis.methods.mask_rcnn.roi_heads import MaskRoIHeads, pixel_loss

SMOOTH = 0.05  # weight of the pairwise term against the mean over bags, as released
ROIS = 16  # of a salient object: its box and others around it
# How far a border of those may be from the box's, in sides of the box: an IoU of 0.5 at least, as between a
# positive RoI of the detector and its object.
JITTER = 1 / 7


class TightnessRoIHeads(MaskRoIHeads):
    """Heads whose mask loss reads boxes only: every positive RoI takes part."""

    def supervised(self, target: dict[str, Tensor]) -> Tensor:
        return torch.ones(len(target["labels"]), dtype=torch.bool)

    def mask_loss(
        self, logits: Tensor, rois: list[Tensor], owners: list[Tensor], targets: list[dict[str, Tensor]]
    ) -> Tensor:
        """Mean cross-entropy of the 2 M bags of each RoI, plus 0.05 times the smoothness term.

        A row or column that crosses the box is a positive bag of its cells inside the box; one outside is a
        negative bag of all its cells (Hsu et al.; BoxCaseg, Sec. 3.1).
        """
        device = logits.device
        boxes = torch.cat([t["boxes"][sent(owner, device)] for t, owner in zip(targets, owners, strict=True)])
        cells = box_cells(boxes, torch.cat(rois), logits.shape[-1]).to(logits)
        boxed = torch.zeros(len(logits), dtype=torch.bool)
        return mil_loss(logits, cells, boxed, bags="box") + SMOOTH * smoothness(logits)


class MixedRoIHeads(TightnessRoIHeads):
    """Heads with one mask for all classes, which objects with boxes and salient ones share."""

    def __init__(self, channels: int, num_classes: int, layout: Layout, spec: PredictSpec) -> None:
        super().__init__(channels, num_classes, layout, spec)
        self.mask_predictor = MaskRCNNPredictor(channels, channels, 1)

    def mask_logits(
        self, features: dict[str, Tensor], rois: list[Tensor], size: tuple[int, int], labels: Tensor
    ) -> Tensor:
        """Logits of each RoI, whatever its class: K x M x M float32."""
        return super().mask_logits(features, rois, size, torch.zeros_like(labels))

    def salient_loss(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[dict[str, Tensor]],
        generator: torch.Generator,
    ) -> Tensor:
        """`pixel_loss` at ROIS regions around every object with a mask, a mean; 0 without any.

        targets: an image: boxes N x 4, masks N x H x W bool or None, has_mask N bool on the CPU
        """
        rois, owners = [], []
        for target, inner in zip(targets, images.image_sizes, strict=True):
            owner = target["has_mask"].nonzero().squeeze(1).repeat_interleave(ROIS)
            boxes = target["boxes"][sent(owner, target["boxes"].device)]
            rois.append(clip_boxes_to_image(around(boxes, generator), inner))
            owners.append(owner)
        size = tuple(images.tensors.shape[-2:])
        logits = self.mask_logits(features, rois, size, torch.cat(owners))
        return pixel_loss(logits, rois, owners, targets) if len(logits) else logits.sum()


def around(boxes: Tensor, generator: torch.Generator) -> Tensor:
    """Regions around boxes, each border moved by up to JITTER of the box's side; every ROIS-th not at all.

    boxes: k x 4 xyxy; generator: on the CPU
    """
    moves = (2 * torch.rand(len(boxes), 4, generator=generator) - 1) * JITTER
    moves[::ROIS] = 0
    sides = boxes[:, 2:] - boxes[:, :2]
    return boxes + sent(moves, boxes.device) * sides.repeat(1, 2)


def box_cells(boxes: Tensor, rois: Tensor, side: int) -> Tensor:
    """The cells of each RoI's grid whose centre lies in the object's box, a rectangle: K x M x M bool.

    boxes, rois: K x 4 xyxy in one frame. A positive RoI overlaps its box by half or more, so that some rows
    and columns of its grid cross the box.
    """
    centres = (torch.arange(side, device=rois.device) + 0.5) / side
    low, high = rois[:, None, :2], rois[:, None, 2:]
    centres = low + (high - low) * centres[None, :, None]  # K x M x 2: x of the columns, y of the rows
    inside = (centres >= boxes[:, None, :2]) & (centres < boxes[:, None, 2:])
    return inside[:, :, None, 1] & inside[:, None, :, 0]
