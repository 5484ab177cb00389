"""torchvision's region proposal network, computing in float32 and with losses whenever there are targets.

Shapes: B images, A anchors an image.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import (
    RegionProposalNetwork,
    RPNHead,
    concat_box_prediction_layers,
)

from wsis.declare.specs.predict import PredictSpec
from wsis.methods.mask_rcnn.layout import Layout


class Proposals(RegionProposalNetwork):
    """Boxes that may hold an object, and the losses that train them (Faster R-CNN)."""

    def __init__(self, channels: int, layout: Layout, spec: PredictSpec) -> None:
        ratios = ((0.5, 1.0, 2.0),) * len(layout.anchors)
        anchors = AnchorGenerator(tuple((size,) for size in layout.anchors), ratios)
        self.details, self.proposals = layout.details, layout.proposals
        if layout.details.exact_anchors:
            anchors.cell_anchors = [exact_anchors(size, ratios[0]) for size in layout.anchors]
        super().__init__(
            anchors,
            RPNHead(channels, anchors.num_anchors_per_location()[0]),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=layout.rpn_samples,
            positive_fraction=0.5,
            pre_nms_top_n={"training": layout.pre_nms, "testing": min(layout.pre_nms, spec.pre_nms)},
            post_nms_top_n={"training": layout.proposals, "testing": layout.proposals},
            nms_thresh=0.7,
        )

    def forward(
        self, images: ImageList, features: dict[str, Tensor], targets: list[dict[str, Tensor]] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Proposals of each image, and loss_rpn_cls and loss_rpn_box where targets are given.

        images: with their sizes inside the padding, to which proposals are clipped
        features: float32, one a level
        targets: one a image with boxes N x 4 float32 xyxy

        Returns:
            B tensors K x 4 xyxy pixels, without gradient; the losses (empty without targets).
        """
        levels = list(features.values())
        logits, deltas = ([x.float() for x in out] for out in self.head(levels))
        anchors = self.anchor_generator(images, levels)
        counts = [x[0].numel() for x in logits]
        logits, deltas = concat_box_prediction_layers(logits, deltas)
        boxes = self.box_coder.decode(deltas.detach(), anchors).view(len(anchors), -1, 4)
        kept, scores = self.filter_proposals(boxes, logits, images.image_sizes, counts)
        if targets is None:
            return kept, {}
        if self.details.shared:
            kept = best_of_all(kept, scores, self.details.shared * self.proposals)
        labels, matched = self.assign_targets_to_anchors(anchors, targets)
        loss_cls, loss_box = self.compute_loss(
            logits, deltas, labels, self.box_coder.encode(matched, anchors)
        )
        return kept, {"loss_rpn_cls": loss_cls, "loss_rpn_box": loss_box}

    def compute_loss(
        self, logits: Tensor, deltas: Tensor, labels: list[Tensor], wanted: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """loss_rpn_cls and loss_rpn_box, sums over the sampled anchors, divided by their number.

        logits: B A x 1; deltas: B A x 4; labels: an image A float, 1 object, 0 background, -1 neither;
        wanted: an image A x 4, deltas to the object of each
        """
        positive, negative = (torch.cat(each).bool() for each in self.fg_bg_sampler(labels))
        sampled = positive | negative
        logits, truth = logits.flatten(), torch.cat(labels)
        loss_cls = F.binary_cross_entropy_with_logits(logits, truth, sampled.to(logits), reduction="sum")
        loss_box = box_loss(deltas, torch.cat(wanted), positive, self.details.rpn_beta)
        return loss_cls / sampled.sum(), loss_box / sampled.sum()


def box_loss(deltas: Tensor, wanted: Tensor, objects: Tensor, beta: float) -> Tensor:
    """Smooth L1 of the boxes that are of an object, a sum (Fast R-CNN, Eq. 3, whose beta is 1).

    deltas, wanted: N x 4, the latter of any value where `objects`, N bool, is false
    """
    errors = torch.where(objects[:, None], deltas - wanted, 0.0)
    return F.smooth_l1_loss(errors, torch.zeros_like(errors), beta=beta, reduction="sum")


def best_of_all(boxes: list[Tensor], scores: list[Tensor], most: int) -> list[Tensor]:
    """The `most` best boxes of all images together, in the order that they had: an image K x 4 and K."""
    every = torch.cat(scores)
    kept = torch.zeros_like(every, dtype=torch.bool)
    kept[every.topk(min(most, len(every))).indices] = True
    return [of[chosen] for of, chosen in zip(boxes, kept.split([len(of) for of in boxes]), strict=True)]


def exact_anchors(size: int, ratios: tuple[float, ...]) -> Tensor:
    """Anchors of an area of size x size around the origin, one a ratio of height to width, not rounded.

    Returns R x 4 float32 xyxy. torchvision's have whole sides.
    """
    shape = torch.tensor(ratios, dtype=torch.float64).sqrt()[:, None]
    half = torch.cat([size / shape, size * shape], 1) / 2
    return torch.cat([-half, half], 1).float()
