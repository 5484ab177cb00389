"""BAISeg's boundary module: cascaded fusion with mutual attention (Sec. 3.3; Eqs. 2 to 5).

The paper leaves the layers of a fusion module open; the ones here are the layout that its published costs
(Tables 4 and 5) allow and its text suggests (erratum attention-details).
Shapes: B images, C' channels of the backbone's features, d hidden channels, H x W feature grid, r reduction.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsis.methods.baiseg.spec import BaisegSpec

SPATIAL = 7  # side of the spatial attention's kernel, Eq. 3


def conv_norm_relu(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution without bias, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class GridAverage(nn.AdaptiveAvgPool2d):
    """Mean over the grid. Reduced over a view with channels last, as the attention's other means and maxima:
    gradients then keep that memory format, which makes a step on a CPU a tenth faster."""

    def __init__(self) -> None:
        super().__init__(1)

    def forward(self, x: Tensor) -> Tensor:
        """B x d x H x W -> B x d."""
        return x.permute(0, 2, 3, 1).mean((1, 2))


class MutualAttention(nn.Module):
    """Mutual attention unit (Eqs. 2 to 5): F_att = F_h + (f x F_c + f x F_s) beta.

    F_c: sigmoid of one MLP's sum over the grid's mean and maximum, a value each channel (Eq. 2)
    F_s: sigmoid of a 7x7 convolution over the channels' mean and maximum, a value each cell (Eq. 3)
    F_h: 1x1 convolution (Eq. 4)
    beta starts at 0, so that the unit starts as F_h. `reduction` divides `dim`.
    """

    def __init__(self, dim: int, reduction: int = 16) -> None:
        super().__init__()
        self.average, self.maximum = GridAverage(), nn.AdaptiveMaxPool2d(1)
        self.mlp = nn.Sequential(
            nn.Linear(dim, dim // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(dim // reduction, dim, bias=False),
        )
        self.spatial = nn.Conv2d(2, 1, SPATIAL, padding=SPATIAL // 2)
        self.identity = nn.Conv2d(dim, dim, 1)
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """B x d x H x W -> B x d x H x W."""
        mean, top = self.mlp(torch.cat([self.average(x), self.maximum(x).flatten(1)])).chunk(2)
        channel = (mean + top).sigmoid()[:, :, None, None]
        cells = x.permute(0, 2, 3, 1)
        pooled = torch.cat([cells.mean(-1, keepdim=True), cells.max(-1, keepdim=True).values], -1)
        spatial = self.spatial(pooled.permute(0, 3, 1, 2)).sigmoid()
        return self.identity(x) + (x * (self.beta * channel) + x * (self.beta * spatial))


class DeepMutualAttention(nn.Module):
    """DMA: two 3x3 convolutions (the embedding), then mutual attention."""

    def __init__(self, inputs: int, dim: int, reduction: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Sequential(conv_norm_relu(inputs, dim), conv_norm_relu(dim, dim))
        self.attention = MutualAttention(dim, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """B x C' x H x W -> B x d x H x W."""
        return self.attention(self.embedding(x))


class CascadeFusion(nn.Module):
    """CFM: DMA (or any convolution) makes global features, a 1x1 convolution local ones, FFM fuses both.

    FFM sends their sum through a 3x3 convolution (boundary-aware global features) and through a 1x1
    convolution (refined local features). dma=False: one 3x3 convolution in DMA's place.
    """

    def __init__(self, inputs: int, dim: int, reduction: int = 16, dma: bool = True) -> None:
        super().__init__()
        self.upper = DeepMutualAttention(inputs, dim, reduction) if dma else conv_norm_relu(inputs, dim)
        self.lower = nn.Conv2d(inputs, dim, 1)
        self.fuse_global = conv_norm_relu(dim, dim)
        self.fuse_local = nn.Conv2d(dim, dim, 1)

    def forward(self, upper: Tensor, lower: Tensor) -> tuple[Tensor, Tensor]:
        """Global and local input, B x C' x H x W each -> global and local features, B x d x H x W each."""
        fused = self.upper(upper) + self.lower(lower)
        return self.fuse_global(fused), self.fuse_local(fused)


class BoundaryModule(nn.Module):
    """IABM: R cascaded CFMs and a 1x1 convolution to one logit.

    The first CFM's two branches both see the backbone's features, the others the global and the local output
    of the one before; F_p is the sum of the last one's. Without baiseg.cfm: one 3x3 convolution, no cascade.
    """

    def __init__(self, channels: int, spec: BaisegSpec) -> None:
        super().__init__()
        dim = spec.dim
        widths = [channels, *[dim] * (spec.cascades - 1)] if spec.cfm else []
        self.cascade = nn.ModuleList(CascadeFusion(width, dim, spec.reduction, spec.dma) for width in widths)
        self.plain = None if spec.cfm else conv_norm_relu(channels, dim)
        self.last = nn.Conv2d(dim, 1, 1)

    def features(self, x: Tensor) -> Tensor:
        """F_p: B x C' x H x W -> B x d x H x W."""
        if self.plain is not None:
            return self.plain(x)
        upper = lower = x
        for fusion in self.cascade:
            upper, lower = fusion(upper, lower)
        return upper + lower

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """B x C' x H x W -> boundary logits, B x 1 x H x W, and F_p, B x d x H x W."""
        features = self.features(x)
        return self.last(features), features
