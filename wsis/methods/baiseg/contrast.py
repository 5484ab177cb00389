"""BAISeg's weighted pixel-to-pixel contrast (Sec. 3.4, Eq. 6) and the pixels it compares.

A cell is a pixel of the embeddings. Cells are sampled as in ContrastiveSeg, the paper's reference for it:
classes (edge, background) of an image with more than `views` cells take part, each with the same number of
cells, half of them hard (the boundary logit decides against the label), half easy, one filled from the other.
All shapes are known beforehand, and random numbers are the CPU's, so that the device is never waited for and
every device chooses the same cells.

Shapes: B images, H x W pixels, H' x W' cells, D channels, M slots for sampled cells (M <= samples).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.structures import sent
from wsis.data.totals import ALONE, Totals
from wsis.errors import WsisError
from wsis.methods.baiseg.spec import BaisegSpec

EPSILON = 1e-12  # least weight of the negatives, for its logarithm


@dataclass(frozen=True)
class Sampled:
    """Sampled cells; slots that are not `used` hold an arbitrary cell."""

    image: Tensor  # M int64
    cell: Tensor  # M int64, y * W' + x
    edge: Tensor  # M bool, the class
    used: Tensor  # M bool


def contrast_loss(
    embeddings: Tensor,
    logits: Tensor,
    edge: Tensor,
    valid: Tensor,
    spec: BaisegSpec,
    generator: torch.Generator,
    totals: Totals = ALONE,
) -> Tensor:
    """L_P (Eq. 6) of cells sampled from the batch, with alpha the share of background in its valid pixels.

    Of a batch in shards, alpha is the batch's; the cells that are compared, and the mean, are each shard's.

    Args:
        embeddings: B x D x H' x W' float of any precision, normalised here
        logits: B x H' x W' float, boundary logits, to tell hard cells from easy ones; no gradient
        edge, valid: B x H x W bool (`wsis.methods.baiseg.boundary_loss.contours`)
        spec: temperature (tau), samples (cells of the batch at most; memory grows with its square) and
            views (cells of one class of an image at most)
        generator: of the CPU
        totals: with `contrast_totals`, where these are a shard of a batch

    Returns:
        Scalar float32; zero with a gradient path where no class of an image has more than `views` cells.

    Raises:
        WsisError: fewer samples than classes of images
    """
    if len(embeddings) == 0:
        return embeddings.float().sum()
    on, off = cell_labels(edge, valid, tuple(embeddings.shape[2:]))
    chosen = sample_cells(on, off, logits.detach() > 0, spec.samples, spec.views, generator)
    pixels = contrast_totals(edge, valid)
    edges, count = (totals.share(name, pixels[name], least=0) for name in ("edges", "pixels"))
    width = embeddings.shape[3]
    vectors = embeddings[chosen.image, :, chosen.cell // width, chosen.cell % width]  # M x D
    return weighted_contrast(vectors, chosen.edge, chosen.used, edges / count.clamp(min=1), spec.temperature)


def contrast_totals(edge: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Valid pixels, and those of them on an edge: their ratio is 1 - alpha."""
    return {"edges": (edge & valid).sum(), "pixels": valid.sum()}


def cell_labels(edge: Tensor, valid: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Labels of cells from those of pixels, by max-pooling: an edge cell has a valid edge pixel, a background
    cell has valid pixels only and none of an edge, and any other cell has no label.

    Returns:
        on, off: B x H' x W' bool, edge cells and background cells
    """
    layers = torch.stack([edge & valid, edge | ~valid], 1).float()
    pooled = F.adaptive_max_pool2d(layers, size) > 0
    return pooled[:, 0], ~pooled[:, 1] & ~pooled[:, 0]


def sample_cells(
    on: Tensor, off: Tensor, predicted: Tensor, samples: int, views: int, generator: torch.Generator
) -> Sampled:
    """Choose cells of each class of each image (see the module's text). Arguments: B x H' x W' bool, and
    `contrast_loss`'s."""
    images, cells = len(on), on[0].numel()
    if samples < 2 * images:
        raise WsisError(
            f"The contrast's {samples} samples cannot hold the two classes, edge and background, of {images}"
            f" images. Set baiseg.samples to {2 * images} or more."
        )
    classes = torch.stack([on, off], 1).flatten(2)  # B x 2 x N
    wrong = torch.stack([~predicted, predicted], 1).flatten(2)
    groups = torch.stack([classes & wrong, classes & ~wrong], 2)  # B x 2 x (hard, easy) x N
    hard, easy = groups.sum(3).unbind(2)  # B x 2

    enough = hard + easy > views
    each = (samples // enough.sum().clamp(min=1)).clamp(max=views) * enough  # cells of a class
    from_hard = torch.minimum(hard, torch.maximum(each // 2, each - easy))
    take = torch.stack([from_hard, each - from_hard], 2)  # B x 2 x 2

    key = sent(torch.randperm(images * cells, generator=generator).view(images, 1, 1, cells), on.device)
    best = key.masked_fill(~groups, -1).topk(min(views, cells), 3).indices  # B x 2 x 2 x V
    used = torch.arange(best.shape[3], device=on.device) < take[..., None]
    slots = min(samples, 2 * images * best.shape[3])
    order = (~used).flatten().int().argsort(stable=True)[:slots]  # used slots first
    of_class = order // (2 * best.shape[3])  # image * 2 + class
    return Sampled(of_class // 2, best.flatten()[order], of_class % 2 == 0, used.flatten()[order])


def weighted_contrast(
    embeddings: Tensor, edge: Tensor, used: Tensor, share: Tensor, temperature: float
) -> Tensor:
    """Eq. 6, averaged over the anchors that have a positive.

    Every used cell is an anchor; its positives are the others of its class, its negatives the other class.
    With alpha the share of background, an edge anchor's logarithm weighs alpha, its negatives 1 - alpha, as
    written; a background anchor's are mirrored, 1 - alpha and alpha (erratum contrast-weights).

    Args:
        embeddings: M x D float, normalised here
        edge, used: M bool
        share: scalar float, of edges in the labels: 1 - alpha
        temperature: tau

    Returns:
        Scalar float32; zero with a gradient path without anchors, without positives or without negatives.
    """
    with torch.autocast(embeddings.device.type, enabled=False):  # half precision over tau would cost digits
        vectors = F.normalize(embeddings.float(), dim=1)
        similarity = vectors @ vectors.T / temperature  # M x M
    share = share.float()
    # Of the negatives' sum; the factor is its complement.
    others = torch.where(edge, share, 1 - share)[:, None]
    pairs = used[:, None] & used
    same = edge[:, None] == edge
    itself = torch.eye(len(edge), dtype=torch.bool, device=edge.device)
    positive = pairs & same & ~itself
    negatives = similarity.masked_fill(~(pairs & ~same), -torch.inf).logsumexp(1, keepdim=True)
    # -log(exp(p) / (exp(p) + w sum)) = softplus(log w + log sum - p)
    term = F.softplus(others.clamp(min=EPSILON).log() + negatives - similarity)
    count = positive.sum(1)
    each = (1 - others[:, 0]) * term.masked_fill(~positive, 0.0).sum(1) / count.clamp(min=1)
    return each.sum() / (count > 0).sum().clamp(min=1)
