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

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from wsis.losses.colour import ColourEdges


def pairwise_loss(
    logits: Tensor,
    rectangles: Tensor,
    image_index: Tensor,
    edges: ColourEdges,
    membership: str = "any",
    normalise: str = "edges",
    weights: Tensor | None = None,
    masks: Tensor | None = None,
) -> Tensor:
    """L_pairwise of Eq. 8, or of Eq. 5 when `masks` gives the true labels; scalar.

    Args:
        logits: N x H x W float
        rectangles: N x 4 int64, boxes in cells (`wsis.losses.projection.grid_rectangles`)
        image_index: N int64, the image of each instance
        edges: similarity of the batch (`wsis.losses.colour.colour_edges`)
        membership: E_in is every edge with an end in the box ("any", the paper), or every directed edge whose
            centre lies in it ("centre", the released code: inner edges count twice); erratum B4
        normalise: by |E_in| for each instance, then averaged over instances ("edges", the paper), or by the
            number of supervised edges of the whole batch ("supervised", the released code); erratum B3
        weights: N float that sum to 1, of the average over instances; default 1 / N
        masks: N x H x W bool; every edge of E_in is then supervised by its true label
    """
    if len(logits) == 0:
        return logits.sum() * 0.0
    sums, supervised, members = _PairwiseSum.apply(
        logits, rectangles, image_index, edges, membership == "centre", masks
    )
    if normalise == "edges":
        each = sums / members.clamp(min=1)
        return each.mean() if weights is None else (each * weights).sum()
    return sums.sum() / supervised.sum().clamp(min=1)


class _Packed:
    """The cells in or next to each box, in one list over all instances."""

    def __init__(self, rectangles: Tensor, reach: int, height: int, width: int) -> None:
        limit = rectangles.new_tensor([width, height])
        low = (rectangles[:, :2] - reach).clamp(min=0)
        high = (rectangles[:, 2:] + reach).minimum(limit)
        sizes = high - low  # N x 2: width, height
        counts = sizes.prod(1)
        self.instance = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)  # P
        starts = counts.cumsum(0) - counts
        local = torch.arange(len(self.instance), device=counts.device) - starts[self.instance]
        self.row = sizes[:, 0][self.instance]  # cells in a packed row
        self.y = low[:, 1][self.instance] + local // self.row
        self.x = low[:, 0][self.instance] + local % self.row
        x0, y0, x1, y1 = rectangles[self.instance].unbind(1)
        self.inside = (self.x >= x0) & (self.x < x1) & (self.y >= y0) & (self.y < y1)
        self.x_low, self.x_high = low[:, 0][self.instance], high[:, 0][self.instance]
        self.y_high = high[:, 1][self.instance]
        self.flat = (self.instance * height + self.y) * width + self.x  # index into N x H x W

    def edges(self, dy: int, dx: int) -> tuple[Tensor, Tensor]:
        """Packed indices (i, j) of the edges with this offset that have an end in the box."""
        x = self.x + dx
        there = (x >= self.x_low) & (x < self.x_high) & (self.y + dy < self.y_high)
        first = there.nonzero().squeeze(1)
        second = first + dy * self.row[first] + dx
        keep = self.inside[first] | self.inside[second]
        return first[keep], second[keep]


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
        count, height, width = logits.shape
        reach = max(max(abs(dy), abs(dx)) for dy, dx in edges.offsets)
        cells = _Packed(rectangles, reach, height, width)
        z = logits.reshape(-1)[cells.flat].float()
        image = image_index[cells.instance]
        plane = cells.y * width + cells.x
        valid = edges.valid.reshape(-1)[image * height * width + plane]
        truth = None if masks is None else masks.reshape(-1)[cells.flat]

        degree = torch.zeros_like(z)  # weighted number of supervised edges at a cell
        gradient = torch.zeros_like(z)
        total = torch.zeros_like(z)  # what a cell's edges contribute, without the pixel terms
        weight_sum = torch.zeros_like(z)
        member = torch.zeros_like(z)
        for k, (dy, dx) in enumerate(edges.offsets):
            first, second = cells.edges(dy, dx)
            if directed:
                weight = (cells.inside[first] & valid[second]).float()
                weight += (cells.inside[second] & valid[first]).float()
            else:
                weight = (valid[first] & valid[second]).float()
            member[first] += weight
            if truth is None:
                index = (image[first] * len(edges.offsets) + k) * height * width + plane[first]
                keep = (weight > 0) & edges.similar.reshape(-1)[index]
                same = None
            else:
                keep = weight > 0
                same = (truth[first] == truth[second])[keep]
            first, second, weight = first[keep], second[keep], weight[keep]
            degree[first] += weight
            degree[second] += weight
            weight_sum[first] += weight
            a, b = z[first], z[second]
            u = a + b if same is None else torch.where(same, a + b, a - b)
            slope = u.sigmoid()
            term = F.softplus(u) if same is None else F.softplus(u) + torch.where(same, 0.0, b)
            total[first] -= weight * term
            gradient[first] -= weight * slope
            gradient[second] -= weight * (slope if same is None else torch.where(same, slope, 1 - slope))
        total += degree * F.softplus(z)
        gradient += degree * z.sigmoid()

        def by_instance(values: Tensor) -> Tensor:
            return values.new_zeros(count).index_add_(0, cells.instance, values)

        sums, supervised, members = by_instance(total), by_instance(weight_sum), by_instance(member)
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
