"""From head outputs to Instances: CondInst's inference, shared by the methods built on it.

Shapes: B images, P locations, C classes, N detections, s stride of mask logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from wsis.data.structures import Instances, Sample, fetched
from wsis.declare.specs.predict import PredictSpec
from wsis.methods.boxed import boxed_masks
from wsis.methods.condinst.fcos import of_levels
from wsis.methods.encode import CHUNK, compressed
from wsis.nn.layout import Layout
from wsis.nn.upsample import upsample


@dataclass
class Detections:
    """Boxes that survive non-maximum suppression, best first.

    boxes: N x 4 xyxy pixels of the network input, clipped; scores: N; labels, location: N int64
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    location: Tensor


def decode(
    outputs: dict[str, Tensor],
    points: Tensor,
    levels: Tensor,
    layout: Layout,
    sizes: Sequence[tuple[int, int]],
    spec: PredictSpec,
) -> list[Detections]:
    """Detections of each of B images.

    The threshold and the ranking use sigmoid(cls) * sigmoid(centerness); the score is its square root.
    outputs: of the FCOS head; sizes: height and width of each image proper, network input pixels.
    """
    product = outputs["logits"].sigmoid() * outputs["centerness"].sigmoid()[:, :, None]
    image, location, label = (product > spec.score).nonzero().unbind(1)
    values = product[image, location, label]
    # How many there are in each level of each image: with that known, nothing below has to be asked for.
    groups = torch.zeros(len(sizes) * len(layout.strides), dtype=torch.int64, device=points.device)
    groups.index_add_(0, image * len(layout.strides) + levels[location], torch.ones_like(image))
    counts = groups.tolist()
    parts = zip(values.split(counts), location.split(counts), label.split(counts), strict=True)
    found = []
    for index, size in enumerate(sizes):
        kept = []
        for score, place, label in islice(parts, len(layout.strides)):
            score, best = score.topk(min(spec.pre_nms, len(score)))
            kept.append((score, label[best], place[best]))
        values, labels, location = (torch.cat(part) for part in zip(*kept, strict=True))
        boxes = decoded(outputs["boxes"][index, location], points[location], levels[location], layout)
        inside = clip_boxes_to_image(boxes, size)
        scores = values.sqrt()
        # The official code clips what is left, and so compares boxes that leave the image.
        compared = boxes if layout.official else inside
        keep = batched_nms(compared, scores, labels, spec.nms)[: spec.detections]
        if layout.official:
            keep = keep[(inside[keep, 2:] > inside[keep, :2]).all(1)]
        found.append(Detections(inside[keep], scores[keep], labels[keep], location[keep]))
    return found


def decoded(ltrb: Tensor, points: Tensor, levels: Tensor, layout: Layout) -> Tensor:
    """Boxes predicted at n locations, n x 4 xyxy input pixels; ltrb: n x 4, their distances in strides."""
    ltrb = ltrb * of_levels(layout.strides, points.device)[levels][:, None]
    return torch.cat([points - ltrb[:, :2], points + ltrb[:, 2:]], 1)


def encode_masks(
    detections: Detections, logits: Tensor, layout: Layout, sample: Sample, spec: PredictSpec
) -> Instances:
    """Bring boxes and masks back to the original image and compress the masks.

    logits: N x H/s x W/s. Masks are thresholded at 0.5 after bilinear resizing, a chunk at a time, so that no
    N full-size maps are held. They may be made of the boxes instead (`spec.masks`).
    """
    height, width = sample.image.shape[1:]
    scale = torch.tensor([sample.size[1] / width, sample.size[0] / height] * 2)
    boxes, labels, scores = fetched(detections.boxes, detections.labels, detections.scores)
    boxes = boxes * scale
    if len(boxes) == 0:
        masks = []
    elif spec.masks != "predicted":
        masks = boxed_masks(spec.masks, boxes, sample)
    else:
        masks = []
        chunk = max(1, CHUNK // max(sample.size[0] * sample.size[1], height * width))
        for part in logits.split(chunk):
            masks += compressed(_full_size(part, layout, (height, width), sample.size) > 0)
    return Instances(boxes, labels, scores, masks)


def _full_size(logits: Tensor, layout: Layout, inner: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """N x H/s x W/s logits -> N x h x w: up to the input, padding cut off, then to the original size.

    Resizing logits or probabilities gives different masks only between cells; CondInst resizes probabilities,
    so they are squashed first and shifted to keep 0 as the threshold.
    """
    x = logits.float().sigmoid()[:, None] - 0.5
    x = upsample(x, layout.out_stride, layout.official)
    x = x[:, :, : inner[0], : inner[1]]
    if inner != size:
        x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    return x.squeeze(1)
