"""BAISeg's boundary labels (Sec. 3.1) and its balanced boundary loss (Eq. 1).

Shapes: B images, H x W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.voc import VOID

MARGIN = 3  # pixels next to void, in any of eight directions, whose contours are not known


def contours(labels: Tensor, void: int = VOID, margin: int = MARGIN) -> tuple[Tensor, Tensor]:
    """Contours of a label map: its spatial gradient (Sec. 3.1; erratum boundary-labels).

    A pixel is an edge where one of its four neighbours has another label, so that a contour is two pixels
    thick, one on each side. A change from or to void is no contour.

    Args:
        labels: B x H x W uint8, int16 or int64
        void: the label of pixels that have none; a number outside the labels' for maps without void
        margin: pixels this near to void, a square around each, are not valid either

    Returns:
        edge: B x H x W bool, also outside `valid`
        valid: B x H x W bool, the pixels a loss may use
    """
    known = labels != void
    edge = torch.zeros_like(known)
    down = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    edge[:, 1:] |= down
    edge[:, :-1] |= down
    right = (labels[:, :, 1:] != labels[:, :, :-1]) & known[:, :, 1:] & known[:, :, :-1]
    edge[:, :, 1:] |= right
    edge[:, :, :-1] |= right
    near = (~known)[:, None].float()
    for size, padding in (((2 * margin + 1, 1), (margin, 0)), ((1, 2 * margin + 1), (0, margin))):
        near = F.max_pool2d(near, size, 1, padding)
    return edge, near[:, 0] == 0


def boundary_loss(logits: Tensor, edge: Tensor, valid: Tensor) -> Tensor:
    """L_B (Eq. 1): cross entropy, edges weighed by the share alpha of background, background by 1 - alpha.

    alpha is counted an image, over its valid pixels. The sum is a mean over an image's valid pixels, then
    over the images with any (erratum boundary-reduction). An image without an edge has alpha = 1: its
    background weighs nothing, so that it teaches nothing, though it counts in the mean.

    Args:
        logits: B x H x W float, of any precision
        edge, valid: B x H x W bool (`contours`)

    Returns:
        Scalar float32; zero with a gradient path without images, valid pixels or edges.
    """
    count = valid.sum((1, 2)).float()  # B
    alpha = ((valid & ~edge).sum((1, 2)) / count.clamp(min=1))[:, None, None]
    logits = logits.float().masked_fill(~valid, 0.0)
    weight = torch.where(edge, alpha, 1 - alpha) * valid
    loss = F.binary_cross_entropy_with_logits(logits, edge.float(), weight, reduction="none")
    each = loss.sum((1, 2)) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
