"""Pairwise affinity loss (BoxInst, Eqs. 4, 5 and 8).

With logits a and b at an edge's ends, the probability that both have the same label (Eq. 4) gives
    -log P(y_e = 1) = softplus(a) + softplus(b) - softplus(a + b)
    -log P(y_e = 0) = softplus(a) + softplus(b) - logaddexp(a, b)
The first two terms belong to pixels: they need one softplus a pixel, times the number of its edges. Only the
cells in or next to a box are touched: they are packed into one list over all instances, and the gradient,
known in closed form, is kept in the same packed form.

Shapes: N instances, B images, H x W mask grid, K undirected offsets, P packed cells.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from wsis.data.structures import sent
from wsis.declare.specs.loss import PairwiseSpec
from wsis.losses.colour import ColourEdges, shifted


def pairwise_loss(
    logits: Tensor,
    rectangles: Tensor,
    image_index: Tensor,
    edges: ColourEdges,
    spec: PairwiseSpec = PairwiseSpec(),
    weights: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """L_pairwise of Eq. 8, or of Eq. 5 when `masks` gives the true labels; scalar.

    Args:
        logits: N x H x W float
        rectangles: N x 4 int64, boxes in cells (`wsis.losses.projection.grid_rectangles`), on the CPU: they
            decide how many cells there are
        image_index: N int64 on the CPU, the image of each instance
        edges: similarity of the batch (`wsis.losses.colour.colour_edges`)
        spec: two of its keys count here, and None is the paper's choice.
            edges: E_in is every edge with an end in the box ("any", the paper), or every directed edge whose
            centre lies in it ("centre", the released code: inner edges count twice); erratum B4.
            normalise: by |E_in| for each instance, then averaged over instances ("edges", the paper), or by
            the number of supervised edges of the whole batch ("supervised", the released code); erratum B3
        weights: N float, of the average over instances, unless `normalise` is "supervised"; default 1 / N
        masks: N x H x W bool; every edge of E_in is then supervised by its true label
    """
    if len(logits) == 0:
        return logits.sum() * 0.0
    sums, supervised, members = _PairwiseSum.apply(
        logits, rectangles, image_index, edges, spec.edges == "centre", masks
    )
    if spec.normalise == "supervised":
        return sums.sum() / supervised.sum().clamp(min=1)
    each = sums / members.clamp(min=1)
    return each.mean() if weights is None else (each * weights).sum()


@torch.no_grad()
def supervised_edges(
    rectangles: Tensor, image_index: Tensor, edges: ColourEdges, spec: PairwiseSpec, by_colour: bool = True
) -> Tensor:
    """How many edges supervise each instance, as `pairwise_loss` counts them: N float on the edges' device.

    Arguments are those of `pairwise_loss`. by_colour: those of similar colour; else all of E_in, as with
    true labels.
    """
    cells = _packed(rectangles, image_index, edges)
    counts = torch.zeros(len(rectangles), device=edges.valid.device)
    for _, weight, similar in _weighted_edges(cells, edges, spec.edges == "centre"):
        counts.index_add_(0, cells.instance, weight * similar if by_colour else weight)
    return counts


class _Packed:
    """The cells in or next to each box, in one list over all instances (int32; P of them), on the device."""

    def __init__(
        self, rectangles: Tensor, images: Tensor, reach: int, size: tuple[int, int], device: torch.device
    ) -> None:
        height, width = size
        limit = torch.tensor([width, height])
        low = (rectangles[:, :2] - reach).clamp(min=0)
        size = (rectangles[:, 2:] + reach).minimum(limit) - low
        counts = size.prod(1)
        starts = counts.cumsum(0) - counts
        inner = (rectangles[:, :2] - low, rectangles[:, 2:] - low)
        frames = torch.cat([size, *inner, low, torch.stack([starts, images], 1)], 1).int()
        total = int(counts.sum())
        self.instance = torch.repeat_interleave(sent(counts, device), output_size=total)
        self.place = torch.arange(total, device=device, dtype=torch.int32)
        frames = sent(frames, device)[self.instance]
        self.columns, self.rows, *self.box, low_x, low_y, start, self.image = frames.unbind(1)
        local = self.place - start
        self.y = local // self.columns  # within the packed rectangle
        self.x = local - self.y * self.columns
        self.inside = self._in_box(self.x, self.y)
        self.plane = (self.y + low_y).long() * width + (self.x + low_x)  # index into H x W
        self.flat = self.instance * (height * width) + self.plane  # index into N x H x W

    def _in_box(self, x: Tensor, y: Tensor) -> Tensor:
        x0, y0, x1, y1 = self.box
        return (x >= x0) & (x < x1) & (y >= y0) & (y < y1)

    def neighbour(self, dy: int, dx: int) -> tuple[Tensor, Tensor, Tensor]:
        """For every cell: packed index of the cell at this offset, whether it is there, whether in the box.

        A cell without such a neighbour gets its own index. An edge with an end in the box always has its
        other end among the packed cells or outside the grid.
        """
        x, y = self.x + dx, self.y + dy
        there = (y < self.rows) & (x < self.columns)
        if dx < 0:
            there &= x >= 0
        index = self.place + torch.where(there, self.columns * dy + dx, 0)
        return index.long(), there, there & self._in_box(x, y)


def _packed(rectangles: Tensor, image_index: Tensor, edges: ColourEdges) -> _Packed:
    """The cells that edges with an end in a box connect."""
    reach = max(max(abs(dy), abs(dx)) for dy, dx in edges.offsets)
    return _Packed(rectangles, image_index, reach, tuple(edges.valid.shape[1:]), edges.valid.device)


SIMILAR, HERE_VALID, THERE_VALID = 1, 2, 4


def _edge_codes(edges: ColourEdges) -> Tensor:
    """BHW x K uint8: for each cell and offset, which of SIMILAR, HERE_VALID, THERE_VALID hold."""
    codes = edges.similar.to(torch.uint8) * SIMILAR + edges.valid[:, None].to(torch.uint8) * HERE_VALID
    for k, (dy, dx) in enumerate(edges.offsets):
        codes[:, k] += shifted(edges.valid, dy, dx).to(torch.uint8) * THERE_VALID
    return codes.permute(0, 2, 3, 1).reshape(-1, len(edges.offsets))


def _weighted_edges(
    cells: _Packed, edges: ColourEdges, directed: bool
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For each offset, of the edge from every packed cell: its other end, how often E_in has it, similarity.

    directed: E_in has every directed edge whose centre lies in the box, instead of every edge with an end
    in it. Yields P int64, P float and P uint8 (0 or 1).
    """
    size = edges.valid[0].numel()
    codes = _edge_codes(edges)[cells.image.long() * size + cells.plane]
    for k, (dy, dx) in enumerate(edges.offsets):
        other, there, other_inside = cells.neighbour(dy, dx)
        code = codes[:, k]
        here_valid, there_valid = (code & HERE_VALID) > 0, (code & THERE_VALID) > 0
        if directed:
            weight = (cells.inside & there & there_valid).float()
            weight += (other_inside & here_valid).float()
        else:
            weight = ((cells.inside & there | other_inside) & here_valid & there_valid).float()
        yield other, weight, code & SIMILAR


class _PairwiseSum(torch.autograd.Function):
    """Per instance: sum of w_e * -log P(y_e), sum of w_e, and |E_in|; gradient in closed form."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        logits: Tensor,
        rectangles: Tensor,
        image_index: Tensor,
        edges: ColourEdges,
        directed: bool,
        masks: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        cells = _packed(rectangles, image_index, edges)
        z = logits.reshape(-1)[cells.flat].float()
        truth = None if masks is None else masks.reshape(-1)[cells.flat]

        degree = torch.zeros_like(z)  # weighted number of supervised edges at a cell
        gradient = torch.zeros_like(z)
        total = torch.zeros_like(z)  # what a cell's edges contribute, without the pixel terms
        supervised = torch.zeros_like(z)
        member = torch.zeros_like(z)
        for other, weight, similar in _weighted_edges(cells, edges, directed):
            member += weight
            a, b = z, z[other]
            if truth is None:
                weight = weight * similar
                u, extra = a + b, 0.0
            else:
                same = truth == truth[other]
                u, extra = torch.where(same, a + b, a - b), torch.where(same, 0.0, b)
            supervised += weight
            degree += weight
            degree.index_add_(0, other, weight)
            total -= weight * (F.softplus(u) + extra)
            slope = weight * u.sigmoid()
            gradient -= slope
            gradient.index_add_(
                0, other, slope if truth is None else torch.where(same, slope, weight - slope), alpha=-1
            )
        total += degree * F.softplus(z)
        gradient += degree * z.sigmoid()

        def by_instance(values: Tensor) -> Tensor:
            return values.new_zeros(len(logits)).index_add_(0, cells.instance, values)

        sums, supervised, members = by_instance(total), by_instance(supervised), by_instance(member)
        ctx.save_for_backward(gradient, cells.flat, cells.instance)
        ctx.like = logits.shape, logits.dtype
        ctx.mark_non_differentiable(supervised, members)
        return sums, supervised, members

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_sums: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        gradient, flat, instance = ctx.saved_tensors
        shape, dtype = ctx.like
        dense = torch.zeros(shape, dtype=dtype, device=gradient.device)
        dense.view(-1)[flat] = (gradient * grad_sums[instance]).to(dtype)
        return dense, None, None, None, None, None
