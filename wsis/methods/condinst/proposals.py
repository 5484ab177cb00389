"""Which positive locations get a mask loss (erratum B8).

Shapes: B images, G objects and M positives of the batch, K kept of them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.declare.specs.loss import LossSpec
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
