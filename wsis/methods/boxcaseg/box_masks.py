"""Masks of an image's boxes: crop, predict, stretch, resize, cut at one half, paste.

The paper is silent on these steps; they are the code's (errata: mask-postprocessing), without its 8 bits.

Shapes: h x w image, n boxes, H x W grid of the logits. Boxes are xyxy in pixels of the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from pycocotools import mask as rle
from torch import Tensor

from wsis.data.pixel_boxes import PixelBox, pixel_box
from wsis.data.structures import BoxMask, BoxSample, sent
from wsis.methods.boxcaseg.crops import crop_patch, normalise_patch
from wsis.methods.boxcaseg.spec import BoxCasegSpec
from wsis.methods.parts import Parts

CHUNK = 2**21  # pixels of patches that pass the network at a time


@torch.no_grad()
def predict_boxes(method: Parts, samples: Sequence[BoxSample], spec: BoxCasegSpec) -> list[list[BoxMask]]:
    """A mask for each box of each sample, in their order; certainty is that of the network's probabilities.

    method: a BoxCaseg in evaluation mode. A box without area inside the image has an empty mask.
    """
    boxes = [[pixel_box(box, *sample.image.shape[1:]) for box in sample.boxes.tolist()] for sample in samples]
    places = [(i, box) for i, of_image in enumerate(boxes) for box in of_image if box is not None]
    device = next(method.parameters()).device
    chunk = max(1, CHUNK // spec.side**2)
    logits: list[Tensor] = []

    def patches(part: Sequence[tuple[int, PixelBox]]) -> Tensor:
        images = {i: samples[i].image.permute(1, 2, 0).cpu().numpy() for i, _ in part}
        cut = [crop_patch(images[i], box, spec.side) for i, box in part]
        pixels = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2)
        return normalise_patch(sent(pixels, device), False, spec.normalise)

    for first in range(0, len(places), chunk):
        part = places[first : first + chunk]
        features = method.of_base(
            samples[0],
            lambda part=part: method.backbone(patches(part)),
            *(spec.side, spec.normalise, first, *(sample.id for sample in samples)),
        )
        logits += method.logits(features).cpu().unbind()
    of_boxes = iter(logits)
    masks = []
    for sample, of_image in zip(samples, boxes, strict=True):
        grids = [None if box is None else next(of_boxes) for box in of_image]
        certain = [0.0 if x is None else (2 * x.float().sigmoid() - 1).abs().mean().item() for x in grids]
        pasted = paste_masks(grids, of_image, sample.image.shape[1:])
        masks.append([BoxMask(mask, certainty) for mask, certainty in zip(pasted, certain, strict=True)])
    return masks


def paste_masks(
    logits: Sequence[Tensor | None], boxes: Sequence[PixelBox | None], size: tuple[int, int]
) -> list[dict]:
    """n maps of logits, H x W each, as masks inside their boxes: n compressed RLE of `size` (h, w).

    None in both stands for a box outside the image, whose mask is empty. One mask of full size
    is held at a time.
    """
    canvas = np.zeros((*size, 1), np.uint8, order="F")
    masks = []
    for grid, box in zip(logits, boxes, strict=True):
        if box is None:
            masks.append(rle.encode(canvas)[0])
            continue
        x0, y0, x1, y1 = box
        part = canvas[y0:y1, x0:x1, 0]
        part[:] = fill_box(grid, y1 - y0, x1 - x0).numpy()
        masks.append(rle.encode(canvas)[0])
        part[:] = 0
    return masks


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
