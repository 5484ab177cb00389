"""FCOS target assignment and losses (Tian et al. 2019; settings as in BoxInst's detector).

Shapes: B images, P locations over all levels, C classes, G ground-truth boxes of the batch, M positives.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from wsis.data.structures import Targets, sent
from wsis.data.totals import ALONE, Totals
from wsis.nn.layout import Layout

RADIUS = 1.5  # centre sampling, strides
EPS = 1e-7  # of the GIoU's denominators


@dataclass
class Positives:
    """Locations that must detect an object, over the batch; on the CPU, as the boxes that decide them.

    image, location: M int64: image in the batch, index of the location
    object: M int64 in [0, G), the ground truth in the batch
    labels: M int64;  ltrb: M x 4 float, distances to the box in strides
    """

    image: Tensor
    location: Tensor
    object: Tensor
    labels: Tensor
    ltrb: Tensor

    def where(self, index: Tensor) -> Positives:
        """Those at `index` (int64) or where `index` is True (bool)."""
        return Positives(*(getattr(self, part.name)[index] for part in fields(self)))


@torch.no_grad()
def assign(height: int, width: int, layout: Layout, targets: list[Targets]) -> Positives:
    """The positives: inside the box, within 1.5 strides of its centre, box size in the level's range.

    Of several boxes the smallest wins, of equal ones the first. Only the 4 x 4 locations of each level around
    a box's centre can be near enough: few are looked at, on the CPU, and no device is asked for their number.
    height, width: of the network's input, whose locations are numbered as in `wsis.methods.condinst.fcos`.
    """
    boxes = torch.cat([target.boxes for target in targets])  # G x 4
    labels = torch.cat([target.labels for target in targets])
    owner = torch.repeat_interleave(torch.tensor([len(target.boxes) for target in targets]))  # G, its image
    centres = sampling_centres(targets, layout.official)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    parts, start, lower = [], 0, -1.0
    for (rows, columns), stride, upper in zip(
        layout.grids(height, width), layout.strides, layout.ranges, strict=True
    ):
        middle = ((centres - stride // 2) / stride).floor()
        cell = middle[:, None] + torch.arange(-1.0, 3.0)[:, None]  # G x 4 x 2
        x, y = (part.reshape(len(boxes), 16) for part in _pairs(cell[..., 0], cell[..., 1]))
        points = torch.stack([x, y], 2) * stride + stride // 2  # G x 16 x 2
        ltrb = torch.cat([points - boxes[:, None, :2], boxes[:, None, 2:] - points], 2)
        window_low = torch.maximum(centres - stride * RADIUS, boxes[:, :2])[:, None]
        window_high = torch.minimum(centres + stride * RADIUS, boxes[:, 2:])[:, None]
        near = ((points > window_low) & (points < window_high)).all(2)
        reach = ltrb.amax(2)
        sized = (reach >= lower) & (reach <= upper)
        there = (x >= 0) & (x < columns) & (y >= 0) & (y < rows)
        box, place = (near & sized & there).nonzero().unbind(1)
        location = start + (y * columns + x)[box, place].long()
        parts.append((box, location, ltrb[box, place] / stride))
        start, lower = start + rows * columns, upper
    box, location, ltrb = (torch.cat(part) for part in zip(*parts, strict=True))
    order = torch.from_numpy(np.lexsort((box, area[box], location, owner[box])))
    place = torch.stack([owner[box], location])[:, order]
    first = F.pad((place.diff() != 0).any(0), (1, 0), value=True)[: len(order)]  # the best box of a place
    order = order[first]
    box = box[order]
    return Positives(owner[box], location[order], box, labels[box], ltrb[order])


def sampling_centres(targets: list[Targets], official: bool) -> Tensor:
    """The centre (x, y) near which each object is detected, input pixels: G x 2 float on the CPU.

    It is the box's. official: as in the official code (erratum c2), that of the object's pixels, counted from
    0: the mask's where one is given, else the pixels of the box, its first and last edge's included. Masks on
    a device are waited for.
    """
    boxes = torch.cat([target.boxes for target in targets])
    if official:
        boxes = boxes.floor()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    if official and any(target.masks is not None for target in targets):
        parts = [
            boxes.new_full((len(target.boxes), 2), torch.nan)
            if target.masks is None
            else centroids(target.masks)
            for target in targets
        ]
        of_masks = torch.cat([part.cpu() for part in parts])
        given = torch.cat([target.masked for target in targets]) & of_masks.isfinite().all(1)
        centres = torch.where(given[:, None], of_masks, centres)
    return centres


def centroids(masks: Tensor) -> Tensor:
    """Mean (x, y) of each mask's pixels, counted from 0: N x H x W bool -> N x 2 float; NaN where empty."""
    columns, rows = masks.sum(1), masks.sum(2)  # N x W, N x H
    sums = [
        (part * torch.arange(part.shape[1], device=part.device)).sum(1).float() for part in (columns, rows)
    ]
    return torch.stack(sums, 1) / columns.sum(1, keepdim=True)


def _pairs(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Every combination of G x n columns and G x n rows: two G x n x n."""
    return torch.broadcast_tensors(x[:, None, :], y[:, :, None])


def centerness_targets(ltrb: Tensor) -> Tensor:
    """sqrt(min(l, r) / max(l, r) * min(t, b) / max(t, b)); M x 4 -> M."""
    horizontal, vertical = ltrb[:, 0::2], ltrb[:, 1::2]
    ratio = horizontal.amin(1) / horizontal.amax(1) * (vertical.amin(1) / vertical.amax(1))
    return ratio.clamp(min=0).sqrt()


def detection_totals(positives: Positives) -> dict[str, Tensor]:
    """What `detection_losses` divides by, of a shard's positives: their number and their centerness."""
    centerness = centerness_targets(positives.ltrb).sum()
    return {"positives": torch.tensor(float(len(positives.labels))), "centerness": centerness}


def detection_losses(
    outputs: dict[str, Tensor], positives: Positives, totals: Totals = ALONE, official: bool = False
) -> dict[str, Tensor]:
    """loss_cls (focal), loss_box (GIoU weighted by centerness) and loss_ctr (binary cross-entropy).

    Normalised by the number of positives and by their centerness, over the whole batch.
    outputs: of `wsis.methods.condinst.fcos.FCOSHead`; official: `giou_loss` is the official code's.
    """
    device = outputs["logits"].device
    *where, labels = sent(torch.stack([positives.image, positives.location, positives.labels]), device)
    ltrb = sent(positives.ltrb, device)
    onehot = torch.zeros_like(outputs["logits"])
    onehot[(*where, labels)] = 1
    count = totals.share("positives", outputs["logits"].new_full((), len(labels)))
    loss_cls = sigmoid_focal_loss(outputs["logits"], onehot, 0.25, 2, reduction="sum") / count

    centerness = centerness_targets(ltrb)
    weight = totals.share("centerness", centerness.sum(), least=1e-6)
    distance = giou_loss(outputs["boxes"][tuple(where)], ltrb, 1.0 if official else 0.0)
    loss_box = (centerness * distance).sum() / weight
    predicted = outputs["centerness"][tuple(where)]
    loss_ctr = F.binary_cross_entropy_with_logits(predicted, centerness, reduction="sum") / count
    return {"loss_cls": loss_cls, "loss_box": loss_box, "loss_ctr": loss_ctr}


def giou_loss(first: Tensor, second: Tensor, added: float = 0.0) -> Tensor:
    """1 - GIoU of boxes around one point, given as distances l, t, r, b >= 0; M x 4 -> M.

    Such boxes always meet. torchvision's loss, which allows for others, looks for those that do, and so waits
    for the device.
    added: to intersection and union of the IoU, as the official code adds 1 (erratum c3).
    """

    def area(ltrb: Tensor) -> Tensor:
        return (ltrb[:, 2] + ltrb[:, 0]) * (ltrb[:, 3] + ltrb[:, 1])

    shared, around = area(torch.minimum(first, second)), area(torch.maximum(first, second))
    union = area(first) + area(second) - shared
    iou = (shared + added) / (union + added + EPS)
    return 1 - (iou - (around - union) / (around + EPS))
