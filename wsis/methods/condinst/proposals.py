"""Which positive locations get a mask loss (erratum B8), and how much each counts (erratum B5).

Shapes: B images, G objects and M positives of the batch, K kept of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.data.structures import Targets
from wsis.declare.recipe import LossSpec
from wsis.losses.detection import Positives


def keep_proposals(
    positives: Positives, scores: Tensor, spec: LossSpec, images: int, generator: torch.Generator
) -> Tensor:
    """Indices of the kept positives, K int64 on the CPU.

    random  at most `max_proposals` for every two images, drawn evenly (CondInst: of a GPU with two images)
    topk    at most `max_proposals` an image, shared evenly among its objects, best scores first (released)
    one     one of every object's positives, drawn evenly (small scales: objects weigh the same, cheaper)

    Args:
        scores: M float on the CPU, max over classes of sigmoid(cls) * sigmoid(centerness); topk reads them
        images: B, of this device
        generator: CPU generator of this step
    """
    count = len(positives.image)
    if spec.proposals == "random":
        limit = spec.max_proposals * max(images // 2, 1)
        if count <= limit:
            return torch.arange(count)
        return torch.randperm(count, generator=generator)[:limit].sort().values
    objects = positives.object
    if spec.proposals == "one":
        rank = torch.rand(count, generator=generator)
        share = torch.ones_like(objects)
    else:
        rank = -scores.float()
        in_image = torch.stack([positives.image, objects], 1).unique(dim=0)[:, 0]
        number = torch.bincount(in_image, minlength=images)
        share = (spec.max_proposals // number.clamp(min=1)).clamp(min=1)[positives.image]
    order = rank.argsort(stable=True)
    order = order[objects[order].argsort(stable=True)]  # by object, best first
    sorted_objects = objects[order]
    sizes = torch.bincount(sorted_objects)
    position = torch.arange(count) - (sizes.cumsum(0) - sizes)[sorted_objects]
    return order[position < share[order]].sort().values


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
