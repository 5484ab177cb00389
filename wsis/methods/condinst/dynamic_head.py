"""CondInst's dynamic mask head: three 1x1 convolutions whose weights each instance brings along.

Shapes: B images, N instances, C_m mask channels, h hidden channels, H x W mask features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.nn.layout import Layout
from wsis.nn.upsample import upsample


def parameter_count(mask_channels: int, hidden: int) -> int:
    """Length of an instance's parameter vector: weights of (C_m + 2) x h, h x h, h x 1 and their biases."""
    return (mask_channels + 2) * hidden + hidden * hidden + hidden + 2 * hidden + 1


def dynamic_masks(
    features: Tensor,
    image: Tensor,
    parameters: Tensor,
    points: Tensor,
    radii: Tensor,
    layout: Layout,
    hidden: int,
) -> Tensor:
    """Mask logits of a batch's instances at twice the features' resolution.

    The first layer sees the mask features and the position relative to the instance, (p - q) / r. It is
    split: the features' part is one matrix product an image for all its instances, the position's part is
    linear in x and y, so that nothing is replicated for each instance.

    Args:
        features: B x C_m x H x W
        image: N int64 ascending, on the CPU, the image of each instance
        parameters: N x T, in the order w1, w2, w3, b1, b2, b3; T = `parameter_count(C_m, h)`
        points: N x 2 float (x, y), the instances' locations in input pixels
        radii: N float, unit of the relative coordinates in pixels
        layout: features have its `mask_stride`

    Returns:
        N x 2H x 2W float32 logits.
    """
    channels, height, width = features.shape[1:]
    count = len(parameters)
    sizes = [(channels + 2) * hidden, hidden * hidden, hidden, hidden, hidden, 1]
    w1, w2, w3, b1, b2, b3 = parameters.split(sizes, 1)
    w1 = w1.reshape(count, hidden, channels + 2)
    counts = torch.bincount(image, minlength=len(features)).tolist()
    products = [
        weights.flatten(0, 1) @ grid.flatten(1).to(w1.dtype)
        for weights, grid in zip(w1[:, :, 2:].split(counts), features.unbind(), strict=True)
    ]
    x = torch.cat(products).reshape(count, hidden, height, width)
    stride = layout.mask_stride
    grid_x = torch.arange(width, device=features.device) * stride + stride // 2
    grid_y = torch.arange(height, device=features.device) * stride + stride // 2
    relative_x = (points[:, :1] - grid_x) / radii[:, None]  # N x W
    relative_y = (points[:, 1:] - grid_y) / radii[:, None]  # N x H
    x = x + (w1[:, :, 0, None] * relative_x[:, None])[:, :, None]
    x = x + (w1[:, :, 1, None] * relative_y[:, None] + b1[:, :, None])[:, :, :, None]
    x = x.relu().flatten(2)
    x = torch.baddbmm(b2[:, :, None], w2.reshape(count, hidden, hidden), x).relu()
    x = torch.baddbmm(b3[:, :, None], w3.reshape(count, 1, hidden), x)
    x = x.reshape(count, 1, height, width).float()
    return upsample(x, 2, layout.official).squeeze(1)
