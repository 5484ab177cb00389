"""BoxCaseg's segmentation heads and the weight transfer between them (Sec. 3.3; Fig. 4).

Shapes: B patches, C' feature channels, H x W feature grid.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of the transfer's leaky ReLU
EXPANSION = 4  # hidden width of the transfer over C'
CONV_STD, TRANSFER_STD = 0.001, 0.01  # of the released initialisation


class SegmentationHead(nn.Module):
    """1x1 convolution, batch norm, ReLU, 1x1 convolution to one logit; all on the feature grid."""

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """B x C' x H x W -> B x H x W logits."""
        return self.last(self.norm(self.first(features)).relu()).squeeze(1)


class ConvTransfer(nn.Module):
    """The parameters of a 1x1 convolution, computed from another one's, which get no gradient.

    A two-layer perceptron maps each output channel's row of C' weights; the bias b becomes k b + c. In
    float32 whatever the precision of the rest: the rows are small numbers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = EXPANSION * channels
        self.rows = nn.Sequential(
            nn.Linear(channels, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, channels)
        )
        self.k = nn.Parameter(torch.ones(()))
        self.c = nn.Parameter(torch.zeros(()))

    def forward(self, source: nn.Conv2d) -> tuple[Tensor, Tensor]:
        """Weight (as `source.weight`, outputs x C' x 1 x 1) and bias (outputs)."""
        with torch.autocast(source.weight.device.type, enabled=False):
            rows = self.rows(source.weight.detach().float().flatten(1))
            bias = self.k * source.bias.detach().float() + self.c
        return rows.reshape(source.weight.shape), bias


class TransferredHead(nn.Module):
    """A segmentation head whose convolutions come from the weak head, with a batch norm of its own."""

    def __init__(self, channels: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.first = ConvTransfer(channels)
        self.norm = nn.BatchNorm2d(channels, momentum=momentum)
        self.last = ConvTransfer(channels)

    def forward(self, features: Tensor, weak: SegmentationHead) -> Tensor:
        """B x C' x H x W -> B x H x W logits; no gradient reaches the parameters of `weak`."""
        hidden = self.norm(F.conv2d(features, *self.first(weak.first))).relu()
        return F.conv2d(hidden, *self.last(weak.last)).squeeze(1)


def released_initialisation(head: nn.Module) -> None:
    """As the released code starts a head: small normal weights, the transfer's biases as well.

    Biases of convolutions keep PyTorch's default, batch norm and k, c are 1 and 0.
    """
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=CONV_STD)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=TRANSFER_STD)
            nn.init.normal_(module.bias, std=TRANSFER_STD)
