"""A picture with its predicted instances: masks in colours, boxes, and a word at each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from wsis.pictures.canvas import Labels, object_colour, outlined, rectangle

LEAST = 512  # pixels of the longer side: smaller pictures are drawn larger
TINT = 0.45


def overlay(pixels: np.ndarray, masks: np.ndarray, boxes: np.ndarray, words: Sequence[str]) -> Image.Image:
    """The picture with N instances, the first on top of the others.

    pixels: h x w x 3 uint8; masks: N x h x w bool; boxes: N x 4 xyxy pixels; words: one an instance
    """
    scale = max(1, -(-LEAST // max(pixels.shape[:2])))
    larger = pixels.repeat(scale, 0).repeat(scale, 1)
    width = max(2, max(larger.shape[:2]) // 400)
    colours = [object_colour(position) for position in range(len(masks))]
    for mask, colour in reversed([*zip(masks, colours, strict=True)]):
        mask = mask.repeat(scale, 0).repeat(scale, 1)
        larger[mask] = ((1 - TINT) * larger[mask] + TINT * np.array(colour)).astype(np.uint8)
        larger = outlined(larger, mask, colour, width)
    picture = Image.fromarray(larger)
    pen, labels = ImageDraw.Draw(picture), Labels(picture, max(12, max(picture.size) // 55))
    for box, colour in reversed([*zip(boxes * scale, colours, strict=True)]):
        rectangle(pen, box, colour, width)
    for box, word, colour in zip(boxes * scale, words, colours, strict=True):
        labels.write(box, word, colour)
    return picture
