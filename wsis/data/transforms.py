"""Read, resize, flip and pad images together with their boxes and masks.

h x w original image, H x W network input, N instances. Boxes are N x 4 float32 xyxy pixels, half-open.
Random decisions come from the numpy generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from wsis.data.pixels import UPRIGHT, eight_bit, opened, turned_size
from wsis.errors import WsisError
from wsis.nn.backbones import MULTIPLE


@dataclass
class View:
    """An image and its instances in one frame: H x W x 3 uint8, N x 4, N, N x H x W bool or None, N bool."""

    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    has_mask: np.ndarray | None = None


def read_image(path: Path, height: int, width: int) -> np.ndarray:
    """h x w x 3 uint8 RGB, by the rule of wsis.data.pixels.

    Raises WsisError where the file is missing, can't be decoded, is refused, or not of the annotated size.
    """
    with opened(path, "image") as file:
        image = eight_bit(file, "RGB")
        turned = image.shape[:2] != (height, width) == turned_size(file)
    if turned:
        raise WsisError(f"{path}: is stored turned (EXIF orientation); {UPRIGHT}")
    if image.shape[:2] != (height, width):
        raise WsisError(
            f"{path}: is {image.shape[1]}x{image.shape[0]} (width x height), its annotation says"
            f" {width}x{height}; run `wsis data check` on the root"
        )
    return image


def network_size(height: int, width: int, short: int, longest: int) -> tuple[int, int, float]:
    """(H, W, scale): the short side becomes `short` unless the long one would exceed `longest`."""
    scale = min(short / min(height, width), longest / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1), scale


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, averaging when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def flip(view: View, transpose: bool, horizontal: bool, vertical: bool) -> View:
    """One of the eight symmetries of the square: swap the axes, then mirror left-right, then top-bottom."""
    turn = transpose, horizontal, vertical
    image, boxes, masks = turned(view.image, *turn), view.boxes, view.masks
    height, width = image.shape[:2]
    if transpose:
        boxes = boxes[:, [1, 0, 3, 2]]
    if horizontal:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if vertical:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
    if masks is not None and any(turn):
        masks = np.empty((len(masks), height, width), bool)
        for mask, before in zip(masks, view.masks, strict=True):
            mask[:] = turned(before.view(np.uint8), *turn).view(bool)
    return View(image, boxes, view.labels, masks, view.has_mask)


def turned(array: np.ndarray, transpose: bool, horizontal: bool, vertical: bool) -> np.ndarray:
    """h x w (x ...): its axes swapped, then mirrored left-right, then top-bottom.

    OpenCV does so many times faster than a copy of numpy's view with negative strides.
    """
    array = cv2.transpose(array) if transpose else array
    if horizontal or vertical:
        return cv2.flip(array, -1 if horizontal and vertical else int(horizontal))
    return array


def draw_turn(kind: str, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """Whether to swap the axes, mirror left-right and mirror top-bottom.

    `flip`, `scale_jitter`: left-right in half of the cases; `dihedral`: any of the eight symmetries; `none`.
    """
    transpose, horizontal, vertical = (rng.random(3) < 0.5).tolist()
    dihedral = kind == "dihedral"
    return transpose and dihedral, horizontal and kind != "none", vertical and dihedral


def augment(view: View, kind: str, rng: np.random.Generator) -> View:
    """The view turned at random, as `draw_turn` says."""
    return flip(view, *draw_turn(kind, rng))


def padded(size: int) -> int:
    """The next multiple of the backbones' coarsest stride."""
    return -(-size // MULTIPLE) * MULTIPLE
