"""Mask losses on pseudo labels (SIM, Eqs. 8 and 9): l_mask and its averages.

l_mask is binary cross-entropy plus dice (the paper), or the released code's focal loss (S6). Every form is
made of a few sums over the labelled cells of each instance. Their gradients are known in closed form and
computed from the logits again in the backward pass, a few instances at a time, so that no float map is kept.

Shapes: K instances (kept positives), H x W mask grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from wsis.data.structures import sent
from wsis.losses.dice import EPS
from wsis.methods.sim.spec import SimSpec

ALPHA = 0.25  # of the focal loss, whose gamma is 2
CHUNK = 2**20  # cells worked on at a time: small beside K x H x W at full scale, enough for a kernel


def pseudo_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor,
    spec: SimSpec,
    granted: Tensor | None = None,
    inside: Tensor | None = None,
) -> Tensor:
    """L_pseudo of Eq. 8, the mean over K positives; scalar, without lambda_1.

    Args:
        logits: K x H x W float
        target: K x H x W bool, pseudo mask of each instance's object
        weight: K x H x W bool, W: cells that have a label
        inside: K x H x W bool, cells of the box: the cells' loss is then a mean over the labelled ones inside
            plus a mean over those outside; None: one mean over all that are labelled. Dice is over all
        granted: K float, foreground cells that dice counts as predicted right though they are in no W. For a
            control without foreground labels, whose dice would else be a constant: with them it pushes on
            cells outside the box as hard as it does where the box holds a mask of that size
    """
    if len(logits) == 0:
        return logits.sum() * 0.0
    regions = [weight] if inside is None else [weight & inside, weight & ~inside]
    terms = [mask_terms(logits, target, region, spec.mask_loss) for region in regions]
    loss = sum(_average_cells(each, spec.average) for each in terms)
    return loss if spec.mask_loss == "focal" else loss + reduce(add, terms).dice(granted).mean()


def paste_loss(logits: Tensor, target: Tensor, spec: SimSpec, pasted: Tensor) -> Tensor:
    """L_paste of Eq. 9, as a mean; scalar, without lambda_2; 0 where nothing was pasted.

    The mean runs over the pasted instances, or (S16, the released code) over all: each of the others then
    adds the constant dice of two empty masks, 1.

    Args:
        logits: K x H x W float, of all instances
        target: K x H x W bool; only those of pasted instances are read
        pasted: K bool on the CPU
    """
    if not pasted.any():
        return logits.sum() * 0.0
    rows = sent(pasted.nonzero().squeeze(1), logits.device)
    terms = mask_terms(logits[rows], target[rows], None, spec.mask_loss)
    dice = terms.dice().mean()
    if spec.paste_average == "all":
        dice = (terms.dice().sum() + (~pasted).sum()) / len(pasted)
    return _average_cells(terms, spec.average) + dice


@dataclass
class MaskTerms:
    """The parts of l_mask, for each of K instances.

    cells: sum over the labelled cells of the cross-entropy or focal loss
    overlap, squares, foreground, count: sums over them of p t, p^2, t and 1; p = sigmoid(logits)
    """

    cells: Tensor
    overlap: Tensor
    squares: Tensor
    foreground: Tensor
    count: Tensor

    def dice(self, granted: Tensor | None = None) -> Tensor:
        """Dice loss over the labelled cells, K float; 0 where there is none. granted: see `pseudo_loss`."""
        sums = (self.overlap, self.squares, self.foreground)
        overlap, squares, foreground = sums if granted is None else (part + granted for part in sums)
        return torch.where(self.count > 0, 1 - 2 * overlap / (squares + foreground + EPS), 0.0)

    def __add__(self, other: MaskTerms) -> MaskTerms:
        """The terms over two sets of cells together."""
        return MaskTerms(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))


def mask_terms(logits: Tensor, target: Tensor, weight: Tensor | None, kind: str) -> MaskTerms:
    """The sums of each instance that cross-entropy or focal loss, and dice, are made of.

    The focal loss is the released code's: its cross-entropy takes the probability for a logit, that is, the
    sigmoid is applied twice, and confident errors are pushed less.

    Args:
        logits: K x H x W float
        target, weight: K x H x W bool; weight None: every cell is labelled
        kind: "bce+dice" or "focal", which decides the cells' loss
    """
    return MaskTerms(*_MaskSums.apply(logits, target, weight, kind == "focal"))


def _average_cells(terms: MaskTerms, average: str) -> Tensor:
    """Mean over an instance's cells, then over instances; or over the cells of all of them (S7)."""
    if average == "pooled":
        return terms.cells.sum() / (terms.count.sum() + 1)
    return (terms.cells / terms.count.clamp(min=1)).mean()


class _MaskSums(torch.autograd.Function):
    """Sums over each instance's labelled cells of the cells' loss, p t, p^2, t and 1; p = sigmoid(logits)."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, logits: Tensor, target: Tensor, weight: Tensor | None, focal: bool
    ) -> tuple[Tensor, ...]:
        ctx.save_for_backward(logits, target, weight)
        ctx.focal = focal
        parts = []
        for rows in _chunks(logits):
            z, t = _full(logits[rows]), target[rows]
            ignored = None if weight is None else ~weight[rows]
            p = z.sigmoid()
            loss = _focal(p, t) if focal else F.softplus(torch.where(t, -z, z))
            count = loss.new_full((len(z),), float(z.shape[1:].numel()))
            if ignored is not None:
                loss, p, t = loss.masked_fill_(ignored, 0), p.masked_fill_(ignored, 0), t & ~ignored
                count -= _sum(ignored)
            parts.append((_sum(loss), _sum(p * t), _sum(p * p), _sum(t), count))
        sums = tuple(torch.cat(part) for part in zip(*parts, strict=True))
        ctx.mark_non_differentiable(*sums[3:])
        return sums

    @staticmethod
    @once_differentiable
    def backward(
        ctx: FunctionCtx, of_loss: Tensor, of_overlap: Tensor, of_squares: Tensor, *_: Tensor
    ) -> tuple[Tensor | None, ...]:
        logits, target, weight = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for rows in _chunks(logits):
            t = target[rows]
            p = _full(logits[rows]).sigmoid()
            loss, overlap, squares = (g[rows, None, None] for g in (of_loss, of_overlap, of_squares))
            slope = overlap * t + 2 * squares * p  # in p
            if ctx.focal:
                slope += loss * _focal_slope(p, t)
            slope *= p * (1 - p)
            if not ctx.focal:
                slope += loss * (p - t.to(p.dtype))
            gradient[rows] = slope if weight is None else slope.masked_fill_(~weight[rows], 0)
        return gradient, None, None, None


def _focal(p: Tensor, t: Tensor) -> Tensor:
    """Focal loss of probabilities p for labels t (bool); its cross-entropy takes p for a logit."""
    error, signed = torch.where(t, 1 - p, p), torch.where(t, -p, p)
    return torch.where(t, ALPHA, 1 - ALPHA) * error.square() * F.softplus(signed)


def _focal_slope(p: Tensor, t: Tensor) -> Tensor:
    """Derivative of `_focal` in p."""
    error, signed = torch.where(t, 1 - p, p), torch.where(t, -p, p)
    rise = error * (2 * F.softplus(signed) + error * signed.sigmoid())
    return torch.where(t, -ALPHA, 1 - ALPHA) * rise


def _chunks(logits: Tensor) -> list[slice]:
    """Slices of instances that hold at most `CHUNK` cells each; at least one slice."""
    step = max(1, CHUNK // max(1, logits.shape[1:].numel()))
    return [slice(start, start + step) for start in range(0, max(1, len(logits)), step)]


def _full(values: Tensor) -> Tensor:
    """At least float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _sum(values: Tensor) -> Tensor:
    """Sum over H x W; of booleans, as float."""
    return values.sum((1, 2), dtype=torch.float32 if values.dtype == torch.bool else None)
