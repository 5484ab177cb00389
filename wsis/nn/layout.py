"""Where a network's features live: strides of its levels, sizes they detect, inputs of the mask branch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Layout:
    """Geometry of a CondInst network.

    names:        backbone stages that enter the FPN, finest first
    strides:      detector levels, input pixels a cell
    ranges:       upper ends of max(l, t, r, b) in pixels for each level; the last is infinite
    radii:        unit of the relative coordinates at each level, pixels (CondInst: 8 strides)
    mask_inputs:  features summed in the mask branch, the finest first; its stride is `mask_stride`
    mask_stride:  stride of the mask features; logits are upsampled twofold to `out_stride`
    mask_width, mask_convs: channels and 3x3 convolutions of the mask branch
    official:     what no paper mentions is as in the official code (`model.details`)
    """

    names: tuple[str, ...]
    strides: tuple[int, ...]
    ranges: tuple[float, ...]
    radii: tuple[float, ...]
    mask_inputs: tuple[str, ...]
    mask_stride: int
    mask_width: int
    mask_convs: int
    official: bool = False

    def grids(self, height: int, width: int) -> list[tuple[int, int]]:
        """Rows and columns of each level for a network input of height x width pixels."""
        return [(-(-height // stride), -(-width // stride)) for stride in self.strides]

    @property
    def out_stride(self) -> int:
        return self.mask_stride // 2


RESNET = Layout(
    names=("c3", "c4", "c5"),
    strides=(8, 16, 32, 64, 128),
    ranges=(64, 128, 256, 512, float("inf")),
    radii=(64, 128, 256, 512, 1024),
    mask_inputs=("p3", "p4", "p5"),
    mask_stride=8,
    mask_width=128,
    mask_convs=4,
)

# Photographs of about 256 pixels, of which only a few iterations are seen: fine masks, a slim mask branch.
SMALL = replace(RESNET, mask_inputs=("c2", "p3", "p4"), mask_stride=4, mask_width=32, mask_convs=2)

# 96-pixel images with objects of 20 to 60 pixels: two levels, masks at a quarter of the usual stride.
TINY = Layout(
    names=("c3", "c4"),
    strides=(8, 16),
    ranges=(18, float("inf")),
    radii=(16, 32),
    mask_inputs=("c2", "p3", "p4"),
    mask_stride=4,
    mask_width=32,
    mask_convs=2,
)
