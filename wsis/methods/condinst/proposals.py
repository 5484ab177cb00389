"""Which positive locations get a mask loss (erratum B8), and how much each counts (erratum B5).

Shapes: B images, M positives of the batch, K kept of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.declare.recipe import LossSpec
from wsis.losses.detection import Positives


def keep_proposals(
    positives: Positives, scores: Tensor, spec: LossSpec, images: int, generator: torch.Generator
) -> Tensor:
    """Indices of the kept positives, K int64.

    random  at most `max_proposals` for every two images, drawn evenly (CondInst: of a GPU with two images)
    topk    at most `max_proposals` an image, shared evenly among its objects, best scores first (released)
    one     one of every object's positives, drawn evenly (small scales: objects weigh the same, cheaper)

    Args:
        scores: M float, max over classes of sigmoid(cls) * sigmoid(centerness)
        images: B, of this device
        generator: CPU generator of this step
    """
    count = len(positives.image)
    device = positives.image.device
    if spec.proposals == "random":
        limit = spec.max_proposals * max(images // 2, 1)
        if count <= limit:
            return torch.arange(count, device=device)
        return torch.randperm(count, generator=generator)[:limit].sort().values.to(device)
    objects = object_index(positives)
    if spec.proposals == "one":
        rank = torch.rand(count, generator=generator).to(device)
        share = torch.ones_like(objects)
    else:
        rank = -scores.detach().float()
        in_image = torch.stack([positives.image, positives.target], 1).unique(dim=0)[:, 0]
        number = torch.bincount(in_image, minlength=int(positives.image.max()) + 1 if count else 1)
        share = (spec.max_proposals // number.clamp(min=1)).clamp(min=1)[positives.image]
    order = rank.argsort(stable=True)
    order = order[objects[order].argsort(stable=True)]  # by object, best first
    sorted_objects = objects[order]
    sizes = torch.bincount(sorted_objects) if count else sorted_objects
    position = torch.arange(count, device=device) - (sizes.cumsum(0) - sizes)[sorted_objects]
    return order[position < share[order]].sort().values


def object_index(positives: Positives) -> Tensor:
    """M int64: positives of the same object of the same image have the same number, from 0."""
    pairs = torch.stack([positives.image, positives.target], 1)
    return pairs.unique(dim=0, return_inverse=True)[1]


def average_weights(objects: Tensor, average: str) -> Tensor:
    """K float that sum to 1: every object counts the same ("instances"), or every location ("locations").

    objects: K int64, object of each kept positive.
    """
    if average == "locations" or len(objects) == 0:
        return torch.full((len(objects),), 1 / max(len(objects), 1), device=objects.device)
    _, inverse, counts = objects.unique(return_inverse=True, return_counts=True)
    return 1 / (counts[inverse].float() * len(counts))
