"""Modulated deformable convolution (Zhu et al., CVPR 2019: DCNv2) in place of a ResNet's 3x3 convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.ops import deform_conv2d


class Deformable(nn.Module):
    """A convolution whose cells are moved, and weighed from 0 to 1, by what it sees there.

    Offsets begin at 0 and weights at 1/2: its output is then half of the convolution that it is made of.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        """conv: the convolution whose weights, stride and padding it takes over; it has no bias"""
        super().__init__()
        self.weight = conv.weight
        cells = conv.kernel_size[0] * conv.kernel_size[1]
        self.sizes = (2 * cells, cells)  # y and x of each cell's offset, then its weight
        self.offset = nn.Conv2d(
            conv.in_channels, sum(self.sizes), conv.kernel_size, conv.stride, conv.padding, conv.dilation
        )
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    @property
    def stride(self) -> tuple[int, ...]:
        """That of both its convolutions; first weights may move it to another layer."""
        return self.offset.stride

    @stride.setter
    def stride(self, value: tuple[int, int]) -> None:
        self.offset.stride = value

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W -> B x C' x H/s x W/s."""
        offsets, weights = self.offset(x).split(self.sizes, 1)
        here = self.offset
        return deform_conv2d(
            x, offsets, self.weight, None, here.stride, here.padding, here.dilation, weights.sigmoid()
        )


def deform(stage: nn.Module) -> None:
    """Make the 3x3 convolution `conv2` of each of a stage's blocks deformable."""
    for block in stage:
        block.conv2 = Deformable(block.conv2)
