"""The pairwise loss as one would first write it: the measure of `wsis bench pairwise`, and of the tests.

Eight directed neighbours, log-sum-exp of log-probabilities, the whole image for every instance, similarity
replicated for each instance. Slow and hungry, and easy to check against Eqs. 4, 5 and 8.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import sent
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import ColourEdges, shifted


def plain_pairwise_loss(
    logits: Tensor,
    rectangles: Tensor,
    image_index: Tensor,
    edges: ColourEdges,
    spec: PairwiseSpec = PairwiseSpec(),
    masks: Tensor | None = None,
) -> Tensor:
    """The same number as `wsis.losses.pairwise.pairwise_loss` without weights."""
    height, width = logits.shape[1:]
    rectangles, image_index = sent(rectangles, logits.device), sent(image_index, logits.device)
    offsets, maps = [], []  # of all 2K directed edges
    for (dy, dx), similar in zip(edges.offsets, edges.similar.unbind(1), strict=True):
        offsets += [(dy, dx), (-dy, -dx)]
        maps += [similar, shifted(similar, -dy, -dx)]
    y, x = torch.arange(height, device=logits.device), torch.arange(width, device=logits.device)
    x0, y0, x1, y1 = rectangles[:, :, None, None].unbind(1)
    inside = (x >= x0) & (x < x1) & (y[:, None] >= y0) & (y[:, None] < y1)  # N x H x W
    valid = edges.valid[image_index]
    on, off = F.logsigmoid(logits), F.logsigmoid(-logits)

    def neighbours(grid: Tensor) -> Tensor:
        return torch.stack([shifted(grid, dy, dx) for dy, dx in offsets], 1)  # N x 2K x H x W

    there = neighbours(torch.ones_like(valid))
    other_on, other_off = neighbours(on), neighbours(off)
    same = -torch.logaddexp(on[:, None] + other_on, off[:, None] + other_off)
    if spec.edges == "centre":
        member = inside[:, None] & neighbours(valid) & there
    else:
        member = (inside[:, None] | neighbours(inside)) & valid[:, None] & neighbours(valid) & there
    if masks is None:
        supervised = member & torch.stack(maps, 1)[image_index]
        loss = same
    else:
        supervised = member
        different = -torch.logaddexp(on[:, None] + other_off, off[:, None] + other_on)
        loss = torch.where(masks[:, None] == neighbours(masks), same, different)
    sums = (loss * supervised).flatten(1).sum(1)
    if spec.normalise == "supervised":
        return sums.sum() / supervised.sum().clamp(min=1)
    return (sums / member.flatten(1).sum(1).clamp(min=1)).mean()
