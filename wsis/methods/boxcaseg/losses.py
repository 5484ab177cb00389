"""BoxCaseg's losses on object patches: bags (Eq. 1), smoothness (Eq. 2), pixels (Eq. 3).

Shapes: B patches, H x W pixels of one; a *line* is one of the H rows and W columns of a patch.
Labels are B x H x W float in [0, 1]: the box as a rectangle of ones, or a salient object's (soft) mask.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import sent

ON = 0.5  # a pixel belongs to the object above this label
DIRECTIONS = ((0, 1), (1, 0), (1, 1), (1, -1))  # half of the eight neighbours


def mil_loss(
    logits: Tensor,
    labels: Tensor,
    salient: Tensor,
    bags: str = "patch",
    salient_bags: str = "mask",
    reduction: str = "mean",
) -> Tensor:
    """The first two sums of Eq. 1: cross entropy of each line's largest score.

    A line's label is the largest label on it, so a line that crosses the object is positive. The maximum is
    taken on logits and then squashed, which is the same.

    Args:
        logits: B x H x W float
        salient: B bool on the CPU, whose label is a mask
        bags: of a positive line: "patch", all its pixels; "box", those inside the box's other side
        salient_bags: "mask", labels are the mask's largest on a line; "box", the box around the mask is used
        reduction: "mean" over all bags; "sum" over a patch's bags (Eq. 1), then the mean over patches

    Returns:
        Scalar float32; zero with a gradient path without patches.
    """
    if len(logits) == 0:
        return logits.float().sum()
    logits = logits.float()
    on_x, on_y = labels.amax(1), labels.amax(2)  # B x W, B x H
    span_x, span_y = _span(on_x), _span(on_y)
    if salient_bags == "box":
        salient = sent(salient, logits.device)
        on_x = torch.where(salient[:, None], span_x.to(on_x.dtype), on_x)
        on_y = torch.where(salient[:, None], span_y.to(on_y.dtype), on_y)
    x, y = logits.amax(1), logits.amax(2)
    if bags == "box":  # empty spans give -inf, which no positive line then asks for
        inside_x = logits.masked_fill(~span_y[:, :, None], -torch.inf).amax(1)
        inside_y = logits.masked_fill(~span_x[:, None], -torch.inf).amax(2)
        x = torch.where(on_x > ON, inside_x, x)
        y = torch.where(on_y > ON, inside_y, y)
    scores, targets = torch.cat([x, y], 1), torch.cat([on_x, on_y], 1).float()
    loss = F.binary_cross_entropy_with_logits(scores, targets, reduction="none")
    return loss.mean() if reduction == "mean" else loss.sum() / len(logits)


def _span(lines: Tensor) -> Tensor:
    """The lines from the first to the last on which the object lies: B x L -> B x L bool."""
    on = (lines > ON).int()
    return (on.cummax(1).values & on.flip(1).cummax(1).values.flip(1)).bool()


def smoothness(logits: Tensor, reduction: str = "mean") -> Tensor:
    """phi of Eq. 2: squared differences of the probabilities of neighbouring pixels, eight a pixel.

    reduction: "mean" over patches, pixels and directions, as released: there the patch lies in zeros, so that
    its border pixels have eight neighbours, too. "sum": Eq. 2 as written, over the neighbours inside the
    patch; then the mean over patches.

    Returns:
        Scalar float32; zero with a gradient path without patches.
    """
    if len(logits) == 0:
        return logits.float().sum()
    p = logits.float().sigmoid()
    height, width = p.shape[1:]
    total = p.new_zeros(())
    for dy, dx in DIRECTIONS:
        here = p[:, : height - dy, max(0, -dx) : width - max(0, dx)]
        there = p[:, dy:, max(0, dx) : width - max(0, -dx)]
        total = total + 2 * (here - there).square().sum()  # each pair is seen from both its ends
    if reduction == "sum":
        return total / len(p)
    total = total + (p.square() * (8 - _neighbours(height, width, p.device))).sum()
    return total / (8 * p.numel())


def _neighbours(height: int, width: int, device: torch.device) -> Tensor:
    """How many of a pixel's eight neighbours lie in the patch: H x W float."""
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    rows = 1 + (y > 0).float() + (y < height - 1).float()
    columns = 1 + (x > 0).float() + (x < width - 1).float()
    return rows[:, None] * columns - 1


def fuse(salient: Tensor, transferred: Tensor, alpha: float, fusion: str = "logits") -> Tensor:
    """Logits of the two pixel-supervised heads' mixture, alpha of the salient one (Eq. 3).

    fusion: "logits" mixes logits, as released; "probabilities" is the paper's alpha S_a + (1 - alpha) S_t,
    returned as its logit. Of any shape; float32.
    """
    a, t = salient.float(), transferred.float()
    if fusion == "logits" or alpha in (0, 1):
        return alpha * a + (1 - alpha) * t
    of_a, of_t = math.log(alpha), math.log(1 - alpha)
    on = torch.logaddexp(F.logsigmoid(a) + of_a, F.logsigmoid(t) + of_t)
    off = torch.logaddexp(F.logsigmoid(-a) + of_a, F.logsigmoid(-t) + of_t)
    return on - off


def pixel_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L_pix of Eq. 3 of fused logits (`fuse`), B x H x W, as a mean over patches and pixels.

    Returns:
        Scalar float32; zero with a gradient path without patches.
    """
    if len(logits) == 0:
        return logits.float().sum()
    return F.binary_cross_entropy_with_logits(logits.float(), labels.float())
