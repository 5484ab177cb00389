"""Balanced assignment of pixels to prototypes by optimal transport (SIM, Eqs. 2 and 3).

Shapes: P pixels, L prototypes of a class. Pixels come in groups (classes); N_c pixels are in group c.
"""

import torch
from torch import Tensor


def sinkhorn(scores: Tensor, groups: Tensor, count: int, eps: float, iterations: int) -> Tensor:
    """Transport plan Q* of Eq. 2 for every group at once, by Sinkhorn-Knopp (Eq. 3) in the log domain.

    An iteration scales each prototype's mass in a group to 1 / L (r), then each pixel's to 1 / N_c (h): the
    second holds exactly, the first only in the limit. Without exponentials of scores / eps nothing overflows.
    Linear in P.

    Args:
        scores: P x L float of any precision, similarity to the prototypes of the pixel's own group
        groups: P int64 in [0, count); a group may be empty
        eps: smoothness epsilon; 0.05 in the released code, the paper gives none
        iterations: at least 1; 3 in the released code

    Returns:
        P x L float32, N_c Q*: each pixel's distribution over prototypes; rows sum to 1.
    """
    plan = scores.float() / eps
    for _ in range(iterations):
        plan = plan - _group_logsumexp(plan, groups, count)[groups]  # all to 1: the factor cancels below
        plan = plan - plan.logsumexp(1, keepdim=True)  # log_softmax is several times slower for small L
    return plan.exp()


def _group_logsumexp(values: Tensor, groups: Tensor, count: int) -> Tensor:
    """log sum exp over the rows of each group: P x L float -> count x L float; -inf for an empty group."""
    highest = values.new_full((count, values.shape[1]), float("-inf"))
    highest = highest.scatter_reduce(0, groups[:, None].expand_as(values), values, "amax")
    total = torch.zeros_like(highest).index_add(0, groups, (values - highest[groups]).exp())
    return highest + total.log()
