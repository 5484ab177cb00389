"""Masks of an image's boxes: crop, predict, stretch, resize, cut at one half, encode.

The paper is silent on these steps; they are the code's (errata: mask-postprocessing), without its 8 bits.

Shapes: h x w image, n boxes, H x W grid of the logits. Boxes are xyxy in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.pixel_boxes import PixelBox, pixel_box
from wsis.data.structures import Arriving, BoxMask, BoxSample, sent
from wsis.evaluation.rle import encode_crop
from wsis.methods.boxcaseg.crops import crop_patch, normalise_patch
from wsis.methods.boxcaseg.spec import BoxCasegSpec
from wsis.methods.parts import Parts

CHUNK = 2**21  # pixels of patches that pass the network at a time
Place = tuple[int, PixelBox]  # number of the sample, and a box inside its image


@torch.no_grad()
def predict_boxes(method: Parts, samples: Sequence[BoxSample], spec: BoxCasegSpec) -> list[list[BoxMask]]:
    """A mask for each box of each sample, in their order; certainty is that of the network's probabilities.

    The boxes of all samples pass the network together, CHUNK pixels at a time. While a card has some of them,
    the masks of those before are encoded.

    method: a BoxCaseg in evaluation mode. A box without area inside the image has an empty mask.
    """
    sizes = [sample.image.shape[1:] for sample in samples]
    boxes = [
        [pixel_box(box, *size) for box in sample.boxes.tolist()]
        for sample, size in zip(samples, sizes, strict=True)
    ]
    places = [(i, box) for i, of_image in enumerate(boxes) for box in of_image if box is not None]
    images = [sample.image.permute(1, 2, 0).cpu().numpy() for sample in samples]
    device = next(method.parameters()).device
    chunk = max(1, CHUNK // spec.side**2)
    masks: list[BoxMask] = []

    def patches(part: Sequence[Place]) -> Tensor:
        cut = [crop_patch(images[i], box, spec.side) for i, box in part]
        pixels = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)
        return normalise_patch(sent(pixels, device), False, spec.normalise)

    def encode(part: Sequence[Place], logits: Arriving) -> None:
        grids = zip(part, logits.read(), strict=True)
        masks.extend(box_mask(grid, box, sizes[i]) for (i, box), grid in grids)

    coming: tuple[Sequence[Place], Arriving] | None = None
    for first in range(0, len(places), chunk):
        part = places[first : first + chunk]
        features = method.of_base(
            samples[0],
            lambda part=part: method.backbone(patches(part)),
            *(spec.side, spec.normalise, first, *(sample.id for sample in samples)),
        )
        last, coming = coming, (part, Arriving(method.logits(features)))
        if last is not None:
            encode(*last)
    if coming is not None:
        encode(*coming)
    of_boxes = iter(masks)
    return [
        [no_mask(size) if box is None else next(of_boxes) for box in of_image]
        for of_image, size in zip(boxes, sizes, strict=True)
    ]


def box_mask(logits: Tensor, box: PixelBox, size: tuple[int, int]) -> BoxMask:
    """H x W logits as a mask inside their box, in an image of `size` (h, w)."""
    x0, y0, x1, y1 = box
    certainty = (2 * logits.float().sigmoid() - 1).abs().mean().item()
    return BoxMask(encode_crop(fill_box(logits, y1 - y0, x1 - x0).numpy(), y0, x0, *size), certainty)


def no_mask(size: tuple[int, int]) -> BoxMask:
    """That of a box outside of an image of `size` (h, w)."""
    return BoxMask(encode_crop(np.zeros((0, 0), bool), 0, 0, *size), 0.0)


def fill_box(logits: Tensor, height: int, width: int) -> Tensor:
    """H x W logits -> height x width bool: stretched probabilities, resized to the box, above one half.

    Resizing is bilinear, over all cells a pixel covers where the box is smaller than the grid.
    """
    return in_box(stretched(logits.float().sigmoid()), height, width) > 0.5


def in_box(probabilities: Tensor, height: int, width: int) -> Tensor:
    """H x W -> height x width, resized as in `fill_box`."""
    x = probabilities[None, None]
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=False, antialias=True)[0, 0]


def stretched(probabilities: Tensor) -> Tensor:
    """Probabilities of one object mapped to [0, 1] by their smallest and largest; constant ones stay."""
    low, high = probabilities.aminmax()
    if high <= low:
        return probabilities
    return (probabilities - low) / (high - low)
