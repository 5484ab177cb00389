"""Object-contextual representations: each pixel is told what the regions of all classes look like.

Shapes: B images, C' channels of the backbone, N = H W cells of the feature grid, K classes with background,
D channels of pixels and regions, D/2 or so of those that are compared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsis.methods.ocrnet.spec import OcrnetSpec
from wsis.nn.hrnet import MOMENTUM


class ContextHead(nn.Module):
    """Soft object regions, their representations, and the classes of the pixels that have seen them."""

    def __init__(self, channels: int, classes: int, spec: OcrnetSpec) -> None:
        """channels: C'; classes: K."""
        super().__init__()
        self.regions = nn.Sequential(_conv(channels, channels, 1, bias=True), nn.Conv2d(channels, classes, 1))
        self.pixels = _conv(channels, spec.channels, 3, bias=True)
        self.context = ObjectContext(spec.channels, spec.key)
        self.joined = nn.Sequential(_conv(2 * spec.channels, spec.channels, 1), nn.Dropout2d(spec.dropout))
        self.classes = nn.Conv2d(spec.channels, classes, 1)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """B x C' x H x W -> logits of the pixels and of the soft object regions, B x K x H x W each."""
        regions, pixels = self.regions(features), self.pixels(features)
        context = self.context(pixels, representations(pixels, regions))
        return self.classes(self.joined(torch.cat([context, pixels], 1))), regions


def representations(pixels: Tensor, regions: Tensor) -> Tensor:
    """f_k, the mean of the pixels in a region, weighted with their degrees m_ki of belonging to it (Eq. 2).

    pixels: B x D x H x W; regions: B x K x H x W logits, whose softmax over an image's cells is m_k

    Returns:
        B x D x K
    """
    degrees = regions.flatten(2).float().softmax(2).to(pixels.dtype)
    return pixels.flatten(2) @ degrees.transpose(1, 2)


class ObjectContext(nn.Module):
    """y_i = rho(sum_k w_ik delta(f_k)), with w_ik the softmax over k of phi(x_i) psi(f_k) (Eqs. 3 and 4).

    The products are divided by the root of the compared channels, as in the released code. phi and psi are
    two 1x1 convolutions each, delta and rho one, all with batch norm and ReLU.
    """

    def __init__(self, channels: int, key: int) -> None:
        """channels: D; key: of what is compared."""
        super().__init__()
        self.phi = nn.Sequential(_conv(channels, key, 1), _conv(key, key, 1))
        self.psi = nn.Sequential(_conv(channels, key, 1), _conv(key, key, 1))
        self.delta = _conv(channels, key, 1)
        self.rho = _conv(key, channels, 1)
        self.scale = key**-0.5

    def forward(self, pixels: Tensor, regions: Tensor) -> Tensor:
        """B x D x H x W pixels and B x D x K representations -> B x D x H x W."""
        batch, _, height, width = pixels.shape
        regions = regions[..., None]
        compared = self.phi(pixels).flatten(2).transpose(1, 2) @ self.psi(regions).flatten(2)  # B x N x K
        weights = (compared.float() * self.scale).softmax(2).to(pixels.dtype)
        seen = self.delta(regions).flatten(2) @ weights.transpose(1, 2)
        return self.rho(seen.reshape(batch, -1, height, width))


def _conv(inputs: int, outputs: int, size: int, bias: bool = False) -> nn.Sequential:
    """A convolution, batch norm and ReLU; bias: the two that the released code gives one beside the norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=bias),
        nn.BatchNorm2d(outputs, momentum=MOMENTUM),
        nn.ReLU(inplace=True),
    )
