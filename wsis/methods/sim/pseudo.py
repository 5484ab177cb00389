"""Instance maps, corrected maps and pseudo labels (SIM, Sec. 3.2.2 and Eq. 11).

Shapes: G objects of a batch, M their positives, K a chunk of the positives, H x W mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wsis.losses.projection import shadows
from wsis.methods.sim.spec import SimSpec

CONFIDENT = 0.7  # the released code takes cells with M_I above this for the object's own (S5, S9, S15)
ADAPTIVE_FLOOR = 0.7  # lower end of the adaptive threshold (S9)


@torch.no_grad()
def positive_weights(ious: Tensor, objects: Tensor, count: int, mu: float) -> Tensor:
    """w_pos of Eq. 6, normalised: softmax of mu * IoU over the positives of each object.

    Args:
        ious: M float, predicted box against ground-truth box
        objects: M int64 in [0, G), object of each positive
        count: G

    Returns:
        M float32 that sum to 1 over each object's positives.
    """
    scaled = mu * ious.float()
    best = scaled.new_full((count,), -torch.inf).scatter_reduce_(0, objects, scaled, "amax")
    powers = (scaled - best[objects]).exp()
    return powers / powers.new_zeros(count).index_add_(0, objects, powers)[objects]


@torch.no_grad()
def accumulate(maps: Tensor, logits: Tensor, weights: Tensor, objects: Tensor) -> None:
    """Adds what K positives contribute to M_I, in place: call it chunk by chunk on maps that start at 0.

    Args:
        maps: G x H x W float32
        logits: K x H x W float, the momentum network's masks
        weights: K float (`positive_weights`)
        objects: K int64
    """
    maps.index_add_(0, objects, logits.float().sigmoid().mul_(weights[:, None, None]))


def correct(semantic: Tensor, known: Tensor, instance: Tensor, alpha: float) -> Tensor:
    """M_prob of Eq. 7: (1 - alpha) M_S + alpha M_I; M_I alone where the class has no prototype yet.

    Args:
        semantic, instance: G x H x W float in [0, 1]
        known: G bool, whether M_S means anything

    Returns:
        G x H x W float32.
    """
    share = torch.where(known, alpha, 1.0)[:, None, None]
    return torch.lerp(semantic.float(), instance.float(), share)


@dataclass
class Labels:
    """Pseudo labels of G objects.

    target: G x H x W bool, foreground (the pseudo mask)
    weight: G x H x W bool, W of Eq. 8: cells that have a label
    paste:  G x H x W bool, the mask that copy-paste cuts out, inside the box
    scores: G float32 in [0, 1], quality of `paste` (S of Eq. 11); 0 where it is empty
    """

    target: Tensor
    weight: Tensor
    paste: Tensor
    scores: Tensor


@torch.no_grad()
def label(
    probability: Tensor, instance: Tensor, rectangles: Tensor, covered: Tensor, spec: SimSpec
) -> Labels:
    """Foreground, background and unlabelled cells of each object (text of Eq. 8), and what can be pasted.

    Foreground is M_prob >= tau_high, background M_prob <= tau_low. Outside the box, `spec.outside` decides
    (S10). An object without a positive has no M_I: only what its box says remains. `spec.labels` concerns
    `target` and `weight`, not `paste`.

    Args:
        probability, instance: G x H x W float, M_prob and M_I
        rectangles: G x 4 int64, boxes in cells (`wsis.losses.projection.grid_rectangles`)
        covered: G bool, objects with at least one positive
    """
    probability, instance = probability.float(), instance.float()
    on_x, on_y = shadows(rectangles, *probability.shape[1:])
    inside = on_y[:, :, None] & on_x[:, None, :]
    if spec.adaptive:  # strictly above: the threshold is itself the value of the first cell to leave out
        high = adaptive_thresholds(probability, instance, inside, spec.tau_high)
        foreground = probability > high[:, None, None]
    else:
        foreground = probability >= spec.tau_high
    usable = covered[:, None, None]
    foreground &= usable
    sure = foreground | (probability <= spec.tau_low) & usable

    if spec.outside == "literal":
        target, weight = foreground, sure
    else:
        target, weight = foreground & inside, sure & inside
        if spec.outside == "background":
            weight |= ~inside
    if not spec.labels:
        target, weight = target & ~inside, weight & ~inside
    paste, scores = _cut_out(probability, instance, foreground, inside & usable, spec.paste_mask)
    return Labels(target, weight, paste, scores)


def adaptive_thresholds(probability: Tensor, instance: Tensor, inside: Tensor, high: float) -> Tensor:
    """High threshold of each object in the released code (S9): as many cells lie above it as M_I is sure of.

    That is the (n + 1)-th largest M_prob in the box, n being the number of its cells with M_I > 0.7, clamped
    to [0.7, high]; 0.7 where the box has no (n + 1)-th cell.

    Args:
        probability, instance: G x H x W float
        inside: G x H x W bool, cells of the box

    Returns:
        G float.
    """
    number = ((instance > CONFIDENT) & inside).flatten(1).sum(1)
    ranked = torch.where(inside, probability, -torch.inf).flatten(1).sort(1, descending=True).values
    last = ranked.shape[1] - 1
    value = ranked.gather(1, number.clamp(max=last)[:, None])[:, 0]
    value = torch.where(number <= last, value, -torch.inf)
    return value.clamp(min=ADAPTIVE_FLOOR, max=high)


def _cut_out(
    probability: Tensor, instance: Tensor, foreground: Tensor, cells: Tensor, source: str
) -> tuple[Tensor, Tensor]:
    """Masks to paste, G x H x W bool within `cells`, and their scores, G float (S15, Eq. 11).

    pseudo    the pseudo mask, scored by M_prob as in Eq. 11
    instance  M_I > 0.7, scored by M_I with one more cell in the denominator (the released code)
    """
    if source == "instance":
        paste, values, extra = (instance > CONFIDENT) & cells, instance, 1
    else:
        paste, values, extra = foreground & cells, probability, 0
    total = torch.where(paste, values, 0.0).sum((1, 2))
    return paste, total / (paste.sum((1, 2)) + extra).clamp(min=1)
