"""Masks that a network predicts in a batch, as mask losses read them, whatever the network.

Shapes: N predicted masks, K positives, H x W input pixels, s stride of the mask logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.data.structures import Targets, sent


@dataclass
class MaskPredictions:
    """Mask logits of the kept positives of a batch, with what is needed to supervise them.

    logits: N x H/s x W/s; all else is on the CPU
    image, object: N int64, the image and the ground truth, both in the batch
    weights: N float that sum to 1, of an average over instances or locations (erratum B5)
    boxes: N x 4 xyxy input pixels; masked: N bool, whether a mask is given
    """

    logits: Tensor
    image: Tensor
    object: Tensor
    weights: Tensor
    boxes: Tensor
    masked: Tensor

    def where(self, chosen: Tensor) -> MaskPredictions:
        """Those that are chosen; N bool on the CPU."""
        if chosen.all():
            return self
        index = chosen.nonzero().squeeze(1)
        rest = (self.image, self.object, self.weights, self.boxes, self.masked)
        return MaskPredictions(self.logits[sent(index, self.logits.device)], *(part[index] for part in rest))


def masked_objects(targets: list[Targets]) -> Tensor:
    """Which objects of a batch have a mask: G bool on the CPU."""
    return torch.cat([target.masked for target in targets])


def averaged(objects: Tensor, average: str) -> int:
    """Over how many `average_weights` takes the average."""
    return len(objects) if average == "locations" else len(objects.unique())


def average_weights(objects: Tensor, average: str) -> Tensor:
    """K float that sum to 1: every object counts the same ("instances"), or every location ("locations").

    objects: K int64 on the CPU, object of each kept positive.
    """
    if average == "locations" or len(objects) == 0:
        return torch.full((len(objects),), 1 / max(len(objects), 1))
    _, inverse, counts = objects.unique(return_inverse=True, return_counts=True)
    return 1 / (counts[inverse].float() * len(counts))
