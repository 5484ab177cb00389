"""FCOS target assignment and losses (Tian et al. 2019; settings as in BoxInst's detector).

Shapes: B images, P locations over all levels, C classes, G ground-truth boxes of an image, M positives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss, sigmoid_focal_loss

from wsis.data.structures import Targets
from wsis.nn.layout import Layout

RADIUS = 1.5  # centre sampling, strides


@dataclass
class Positives:
    """Locations that must detect an object, over the batch.

    image, location, target: M int64: image in the batch, index of the location, ground truth in its image
    labels: M int64;  ltrb: M x 4 float, distances to the box in strides
    """

    image: Tensor
    location: Tensor
    target: Tensor
    labels: Tensor
    ltrb: Tensor

    def where(self, index: Tensor) -> Positives:
        """Those at `index` (int64) or where `index` is True (bool)."""
        return Positives(
            self.image[index], self.location[index], self.target[index], self.labels[index], self.ltrb[index]
        )


@torch.no_grad()
def assign(points: Tensor, levels: Tensor, layout: Layout, targets: list[Targets]) -> Positives:
    """The positives: inside the box, within 1.5 strides of its centre, box size in the level's range.

    Of several boxes the smallest wins. points: P x 2 (x, y) pixels; levels: P int64.
    """
    strides = points.new_tensor(layout.strides)[levels]  # P
    upper = points.new_tensor(layout.ranges)
    lower = torch.cat([upper.new_tensor([-1.0]), upper[:-1]])
    parts = []
    for image, target in enumerate(targets):
        boxes = target.boxes
        if len(boxes) == 0:
            continue
        low, high = points[:, None] - boxes[None, :, :2], boxes[None, :, 2:] - points[:, None]
        ltrb = torch.cat([low, high], 2)  # P x G x 4
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        radius = (strides * RADIUS)[:, None, None]
        window_low = torch.maximum(centres - radius, boxes[:, :2])
        window_high = torch.minimum(centres + radius, boxes[:, 2:])
        near = ((points[:, None] > window_low) & (points[:, None] < window_high)).all(2)
        reach = ltrb.amax(2)
        sized = (reach >= lower[levels][:, None]) & (reach <= upper[levels][:, None])
        area = (boxes[:, 2:] - boxes[:, :2]).prod(1).expand(len(points), -1)
        smallest, chosen = torch.where(near & sized, area, torch.inf).min(1)
        location = smallest.isfinite().nonzero().squeeze(1)
        chosen = chosen[location]
        parts.append((
            torch.full_like(location, image), location, chosen, target.labels[chosen],
            ltrb[location, chosen] / strides[location, None],
        ))  # fmt: skip
    if not parts:
        none = levels.new_zeros(0)
        return Positives(none, none, none, none, points.new_zeros(0, 4))
    return Positives(*map(torch.cat, zip(*parts, strict=True)))


def centerness_targets(ltrb: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)); M x 4 -> M."""
    horizontal, vertical = ltrb[:, 0::2], ltrb[:, 1::2]
    ratio = horizontal.amin(1) / horizontal.amax(1) * (vertical.amin(1) / vertical.amax(1))
    return ratio.clamp(min=0).sqrt()


def detection_losses(outputs: dict[str, Tensor], positives: Positives) -> dict[str, Tensor]:
    """loss_cls (focal), loss_box (GIoU weighted by centerness) and loss_ctr (binary cross-entropy).

    Normalised by the number of positives and by their centerness, averaged over processes.
    outputs: of `wsis.methods.condinst.fcos.FCOSHead`.
    """
    where = (positives.image, positives.location)
    onehot = torch.zeros_like(outputs["logits"])
    onehot[(*where, positives.labels)] = 1
    count = mean_over_processes(outputs["logits"].new_tensor(float(len(positives.image)))).clamp(min=1)
    loss_cls = sigmoid_focal_loss(outputs["logits"], onehot, 0.25, 2, reduction="sum") / count

    centerness = centerness_targets(positives.ltrb)
    weight = mean_over_processes(centerness.sum()).clamp(min=1e-6)
    giou = generalized_box_iou_loss(_around_origin(outputs["boxes"][where]), _around_origin(positives.ltrb))
    loss_box = (centerness * giou).sum() / weight
    predicted = outputs["centerness"][where]
    loss_ctr = F.binary_cross_entropy_with_logits(predicted, centerness, reduction="sum") / count
    return {"loss_cls": loss_cls, "loss_box": loss_box, "loss_ctr": loss_ctr}


def mean_over_processes(value: Tensor) -> Tensor:
    """Average of a detached scalar over all processes; every process must call it in every step."""
    value = value.detach().clone()
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def _around_origin(ltrb: Tensor) -> Tensor:
    """l, t, r, b distances as an xyxy box around the location."""
    return torch.cat([-ltrb[:, :2], ltrb[:, 2:]], 1)
