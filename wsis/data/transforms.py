"""Read, resize, flip and pad images together with their boxes and masks.

h x w original image, H x W network input, N instances. Boxes are N x 4 float32 xyxy pixels, half-open.
Random decisions come from the numpy generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch.nn.functional import interpolate

from wsis.data.pixels import UPRIGHT, eight_bit, turned_size
from wsis.errors import WsisError
from wsis.evaluation.rle import check_outline, truth_rle
from wsis.nn.backbones import MULTIPLE

MASKS_AT_ONCE = 16  # bounds the float copies while masks are resized


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
    try:
        with Image.open(path) as file:
            image = eight_bit(file, "RGB")
            turned = image.shape[:2] != (height, width) == turned_size(file)
    except FileNotFoundError:
        raise WsisError(f"{path}: missing image; run `wsis data check` on the root") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WsisError(f"{path}: can't be decoded ({error}); fetch the file again") from None
    except ValueError as error:
        raise WsisError(f"{path}: {error}") from None
    if turned:
        raise WsisError(f"{path}: is stored turned (EXIF orientation); {UPRIGHT}")
    if image.shape[:2] != (height, width):
        raise WsisError(
            f"{path}: is {image.shape[1]}x{image.shape[0]} (width x height), its annotation says"
            f" {width}x{height}; run `wsis data check` on the root"
        )
    return image


def decode_mask(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """COCO polygons, uncompressed or compressed RLE -> h x w bool. Raises ValueError for what is none."""
    check_outline(segmentation, (height, width))
    return rle.decode(truth_rle(segmentation, (height, width))).astype(bool)


def network_size(height: int, width: int, short: int, longest: int) -> tuple[int, int, float]:
    """(H, W, scale): the short side becomes `short` unless the long one would exceed `longest`."""
    scale = min(short / min(height, width), longest / max(height, width))
    return max(round(height * scale), 1), max(round(width * scale), 1), scale


def resize_image(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, averaging when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def resize_masks(masks: np.ndarray, height: int, width: int) -> np.ndarray:
    """N x h x w bool -> N x H x W bool: pixels at least half covered."""
    if masks.shape[1:] == (height, width) or not len(masks):
        return masks if len(masks) else np.zeros((0, height, width), bool)
    parts = []
    for chunk in np.split(masks, range(MASKS_AT_ONCE, len(masks), MASKS_AT_ONCE)):
        soft = torch.from_numpy(chunk).float()[None]
        parts.append(interpolate(soft, (height, width), mode="bilinear", antialias=True)[0] >= 0.5)
    return torch.cat(parts).numpy()


def resize(view: View, height: int, width: int) -> View:
    """Image, boxes and masks to H x W; boxes are clipped and those under one pixel a side dropped."""
    h, w = view.image.shape[:2]
    boxes = view.boxes * np.array([width / w, height / h] * 2, np.float32)
    boxes = boxes.clip(0, np.array([width, height] * 2, np.float32))
    masks = None if view.masks is None else resize_masks(view.masks, height, width)
    resized = View(resize_image(view.image, height, width), boxes, view.labels, masks, view.has_mask)
    keep = ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)
    if keep.all():
        return resized
    pick = lambda array: None if array is None else array[keep]  # noqa: E731
    return View(resized.image, *map(pick, (boxes, view.labels, masks, view.has_mask)))


def flip(view: View, transpose: bool, horizontal: bool, vertical: bool) -> View:
    """One of the eight symmetries of the square: swap the axes, then mirror left-right, then top-bottom."""
    image, boxes, masks = turned(view.image, transpose, horizontal, vertical), view.boxes, view.masks
    if transpose:
        boxes = boxes[:, [1, 0, 3, 2]]
        masks = None if masks is None else masks.transpose(0, 2, 1)
    height, width = image.shape[:2]
    if horizontal:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
        masks = None if masks is None else masks[:, :, ::-1]
    if vertical:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], 1)
        masks = None if masks is None else masks[:, ::-1]
    return View(image, boxes, view.labels, masks, view.has_mask)


def turned(array: np.ndarray, transpose: bool, horizontal: bool, vertical: bool) -> np.ndarray:
    """h x w (x ...): its axes swapped, then mirrored left-right, then top-bottom."""
    array = array.swapaxes(0, 1) if transpose else array
    return array[:: -1 if vertical else 1, :: -1 if horizontal else 1]


def draw_turn(kind: str, rng: np.random.Generator) -> tuple[bool, bool, bool]:
    """Whether to swap the axes, mirror left-right and mirror top-bottom.

    `flip`: left-right in half of the cases; `dihedral`: any of the eight symmetries; `none`.
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
