"""Masks on a device to run-length codes of whole images.

Shapes: N masks, h x w image.
"""

from __future__ import annotations

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor

CHUNK = 2**24  # pixels of masks at full size that are held as float at a time


def compressed(masks: Tensor) -> list[dict]:
    """N x h x w bool -> N compressed RLE dictionaries."""
    return rle.encode(np.asfortranarray(masks.permute(1, 2, 0).to(torch.uint8).cpu().numpy()))


def box_masks(boxes: Tensor, size: tuple[int, int]) -> list[dict]:
    """The boxes themselves as masks: N x 4 xyxy -> N compressed RLE dictionaries."""
    if len(boxes) == 0:
        return []
    xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return rle.frPyObjects(xywh.double().cpu().numpy(), *size)
