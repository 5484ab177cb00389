"""From head outputs to Instances: CondInst's inference, shared by the methods built on it.

Shapes: P locations, C classes, N detections, s stride of mask logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from wsis.data.structures import Instances, Sample
from wsis.declare.recipe import PredictSpec
from wsis.nn.layout import Layout
from wsis.nn.upsample import upsample

CHUNK = 2**24  # mask pixels at full size held as float at a time


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
    size: tuple[int, int],
    spec: PredictSpec,
) -> Detections:
    """Detections of one image; its outputs have no batch dimension.

    The threshold and the ranking use sigmoid(cls) * sigmoid(centerness); the score is its square root.
    size: height and width of the image proper, network input pixels.
    """
    product = outputs["logits"].sigmoid() * outputs["centerness"].sigmoid()[:, None]
    kept = []
    for level in range(len(layout.strides)):
        location = (levels == level).nonzero().squeeze(1)
        here = product[location]
        place, label = (here > spec.score).nonzero().unbind(1)
        values, best = here[place, label].topk(min(spec.pre_nms, len(place)))
        kept.append((values, label[best], location[place[best]]))
    values, labels, location = (torch.cat(parts) for parts in zip(*kept, strict=True))
    boxes = decoded(outputs["boxes"][location], points[location], levels[location], layout)
    inside = clip_boxes_to_image(boxes, size)
    scores = values.sqrt()
    # The official code clips what is left, and so compares boxes that leave the image.
    keep = batched_nms(boxes if layout.official else inside, scores, labels, spec.nms)[: spec.detections]
    if layout.official:
        keep = keep[(inside[keep, 2:] > inside[keep, :2]).all(1)]
    return Detections(inside[keep], scores[keep], labels[keep], location[keep])


def decoded(ltrb: Tensor, points: Tensor, levels: Tensor, layout: Layout) -> Tensor:
    """Boxes predicted at n locations, n x 4 xyxy input pixels; ltrb: n x 4, their distances in strides."""
    ltrb = ltrb * points.new_tensor(layout.strides)[levels][:, None]
    return torch.cat([points - ltrb[:, :2], points + ltrb[:, 2:]], 1)


def encode_masks(
    detections: Detections, logits: Tensor, layout: Layout, sample: Sample, spec: PredictSpec
) -> Instances:
    """Bring boxes and masks back to the original image and compress the masks.

    logits: N x H/s x W/s. Masks are thresholded at 0.5 after bilinear resizing, a chunk at a time, so that no
    N full-size maps are held. With spec.masks "boxes" the mask is the box (BoxInst, Table 3).
    """
    height, width = sample.image.shape[1:]
    scale = detections.boxes.new_tensor([sample.size[1] / width, sample.size[0] / height] * 2)
    boxes = detections.boxes * scale
    if len(boxes) == 0:
        masks = []
    elif spec.masks == "boxes":
        masks = _boxes_as_masks(boxes, sample.size)
    else:
        masks = []
        chunk = max(1, CHUNK // max(sample.size[0] * sample.size[1], height * width))
        for part in logits.split(chunk):
            masks += _compress(_full_size(part, layout, (height, width), sample.size) > 0)
    return Instances(boxes.cpu(), detections.labels.cpu(), detections.scores.cpu(), masks)


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


def _compress(masks: Tensor) -> list[dict]:
    """N x h x w bool -> N compressed RLE dictionaries."""
    array = masks.permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return rle.encode(np.asfortranarray(array))


def _boxes_as_masks(boxes: Tensor, size: tuple[int, int]) -> list[dict]:
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return rle.frPyObjects(xywh.double().cpu().numpy(), *size)
