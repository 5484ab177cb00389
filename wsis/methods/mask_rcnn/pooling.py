"""Features of regions: torchvision's pooling, and detectron2's.

Shapes: R regions of a batch, S x S cells of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.ops import MultiScaleRoIAlign, roi_align

CANONICAL, LEVEL = 224, 4  # a region of 224 x 224 pixels belongs to the level of stride 2^4 (FPN, Eq. 1)


def pool(levels: list[str], side: int, aligned: bool) -> nn.Module:
    """The pooling of a head: features by level, regions an image, sizes of images -> R x C x S x S."""
    return AlignedPool(levels, side) if aligned else MultiScaleRoIAlign(levels, side, sampling_ratio=2)


class AlignedPool(nn.Module):
    """detectron2's: half-pixel coordinates, and as many samples as a region has cells of the features."""

    def __init__(self, levels: list[str], side: int) -> None:
        super().__init__()
        self.levels, self.side = levels, side

    def forward(
        self, features: dict[str, Tensor], boxes: list[Tensor], sizes: list[tuple[int, int]]
    ) -> Tensor:
        """boxes: an image k x 4 xyxy pixels; sizes: (H, W) of the padded images, which are the same."""
        maps = [features[name] for name in self.levels]
        strides = [sizes[0][0] // each.shape[-2] for each in maps]
        owner = torch.cat([torch.full_like(of[:, :1], i) for i, of in enumerate(boxes)])
        rois = torch.cat([owner, torch.cat(boxes)], 1)
        lengths = (rois[:, 3:] - rois[:, 1:3]).prod(1).clamp(min=0).sqrt()
        level = (LEVEL + (lengths / CANONICAL + 1e-8).log2()).floor() - (strides[0].bit_length() - 1)
        level = level.clamp(0, len(maps) - 1)
        pooled = maps[0].new_zeros(len(rois), maps[0].shape[1], self.side, self.side)
        for number, (each, stride) in enumerate(zip(maps, strides, strict=True)):
            here = (level == number).nonzero()[:, 0]
            pooled[here] = roi_align(each, rois[here], self.side, 1 / stride, sampling_ratio=0, aligned=True)
        return pooled
