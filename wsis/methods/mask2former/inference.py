"""From queries to instances, as Mask2Former does: the likeliest pairs of query and class, no suppression.

Shapes: B images, Q queries, C classes, N instances, H x W network input, h x w original image.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle
from torch import Tensor

from wsis.data.structures import Instances, Sample, fetched
from wsis.declare.specs.predict import PredictSpec
from wsis.methods.boxed import boxed_masks
from wsis.methods.encode import CHUNK, compressed
from wsis.methods.mask2former.network import STRIDE


def best(classes: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest pairs of query and class: their probabilities, queries and labels, each B x N.

    classes: B x Q x (C + 1) logits, the last for no object; number: N, less where there are fewer pairs
    """
    likely = classes.softmax(2)[:, :, :-1]
    labels = likely.shape[2]
    scores, pair = likely.flatten(1).topk(min(number, likely[0].numel()), 1)
    return scores, pair // labels, pair % labels


def instances(
    sample: Sample, spec: PredictSpec, masks: Tensor, scores: Tensor, query: Tensor, labels: Tensor
) -> Instances:
    """Instances of an image, best first: those whose score is above `spec.score`.

    A score is the class's probability times the mean probability of the mask's pixels. A box is the extent
    of its mask, which may then be replaced (`spec.masks`).

    Args:
        masks: Q x H/4 x W/4 logits
        scores, query, labels: N, of `best`
    """
    used, row = query.unique(return_inverse=True)  # a query may stand for several classes: one mask
    certain, codes = encode(masks[used], sample)
    scores, labels, row = fetched(scores * certain[row], labels, row)
    order = scores.argsort(descending=True, stable=True)
    order = order[scores[order] > spec.score]
    codes = [codes[index] for index in row[order].tolist()]
    xywh = rle.toBbox(codes) if codes else np.zeros((0, 4))
    boxes = torch.from_numpy(np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)).float()
    if spec.masks != "predicted" and codes:
        codes = boxed_masks(spec.masks, boxes, sample)
    return Instances(boxes, labels[order], scores[order], codes)


def encode(logits: Tensor, sample: Sample) -> tuple[Tensor, list[dict]]:
    """Mean probability of each mask's pixels, N (0 for an empty mask), and the masks at full size as RLE.

    logits: N x H/4 x W/4; a few at a time, so that no N full-size maps are held.
    """
    chunk = max(1, CHUNK // max(sample.size[0] * sample.size[1], sample.image[0].numel()))
    certain, codes = [logits.new_zeros(0, dtype=torch.float32)], []
    for part in logits.split(chunk) if len(logits) else ():
        full = _full_size(part, sample)
        on = full > 0
        certain.append((full.sigmoid() * on).sum((1, 2)) / on.sum((1, 2)).clamp(min=1))
        codes += compressed(on)
    return torch.cat(certain), codes


def _full_size(logits: Tensor, sample: Sample) -> Tensor:
    """N x H/4 x W/4 -> N x h x w: up to the input, padding cut off, then to the original size."""
    height, width = sample.image.shape[1:]
    x = F.interpolate(logits.float()[:, None], scale_factor=STRIDE, mode="bilinear", align_corners=False)
    x = x[:, :, :height, :width]
    if (height, width) != sample.size:
        x = F.interpolate(x, size=sample.size, mode="bilinear", align_corners=False)
    return x.squeeze(1)
