"""How an object becomes a patch: which pixels are cut out, and how they are normalised (BoxCaseg, Sec. 3.2).

Training and inference have to use the same rules: at inference the crop is `pixel_box` itself, resized to
boxcaseg.side by `crop_patch` and passed through `normalise_patch` with salient False.
h x w image, S patch side. Pixel boxes: `wsis.data.pixel_boxes`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from wsis.data import transforms
from wsis.data.pixel_boxes import PixelBox, pixel_borders
from wsis.data.structures import sent

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Of box patches in the released code: means in the order blue, green, red, subtracted from red, green, blue.
BOX_MEAN = tuple(value / 255 for value in (102.9801, 115.9465, 122.7717))


def jittered_box(box: PixelBox, shift: str, height: int, width: int, rng: np.random.Generator) -> PixelBox:
    """The pixel box moved and scaled at random (Sec. 3.2.2), rounded and clipped; it still meets the box.

    shift: "half" moves the centre by up to 0.25 of half the size and scales about it, as released; "full"
    is the paper's listing: the corner moves by up to 0.25 of the size, and the size changes from there.
    Both sides are scaled by 0.5 to 1.5 apart from each other. (The code cuts coordinates where we round.)
    """
    moves, scales = rng.uniform(-0.25, 0.25, 2), rng.uniform(0.5, 1.5, 2)
    sides = []
    for low, high, move, scale, limit in (
        (box[0], box[2], moves[0], scales[0], width),
        (box[1], box[3], moves[1], scales[1], height),
    ):
        size = high - low
        if shift == "half":
            start = (low + high) / 2 + move * size / 2 - scale * size / 2
        else:
            start = low + move * size
        sides.append(pixel_borders(start, start + scale * size, limit))
    return sides[0][0], sides[1][0], sides[0][1], sides[1][1]


def crop_patch(image: np.ndarray, crop: PixelBox, side: int) -> np.ndarray:
    """side x side x 3 uint8: the crop of an h x w x 3 image, its aspect not kept."""
    x0, y0, x1, y1 = crop
    return transforms.resize_image(np.ascontiguousarray(image[y0:y1, x0:x1]), side, side)


def box_label(box: PixelBox, crop: PixelBox, side: int) -> np.ndarray:
    """side x side float32: one where the patch's nearest pixel of the image lies in the box, else zero."""
    inside = []
    for axis in (0, 1):
        nearest = crop[axis] + (2 * np.arange(side) + 1) * (crop[axis + 2] - crop[axis]) // (2 * side)
        inside.append((nearest >= box[axis]) & (nearest < box[axis + 2]))
    return (inside[1][:, None] & inside[0][None]).astype(np.float32)


def normalise_patch(patch: Tensor, salient: bool, rule: str = "two") -> Tensor:
    """... x 3 x S x S RGB in 0..255, any dtype -> float32, as the network takes it.

    rule "two": box patches (and those of inference) lose BOX_MEAN; salient ones are divided by their largest
    value and get ImageNet's mean and deviation, as released. "imagenet": the latter for all, over 255.
    """
    pixels = patch.float()

    def channels(values: tuple[float, ...]) -> Tensor:
        return sent(torch.tensor(values), pixels.device)[:, None, None]

    if rule == "two" and not salient:
        return pixels / 255 - channels(BOX_MEAN)
    top = pixels.amax((-3, -2, -1), keepdim=True).clamp(min=1) if rule == "two" else 255
    return (pixels / top - channels(IMAGENET_MEAN)) / channels(IMAGENET_STD)
