"""Masks of detected boxes that no network makes (`predict.masks`): the boxes, or GrabCut's in them."""

from __future__ import annotations

import zlib

from torch import Tensor

from wsis.data.structures import Sample
from wsis.data.transforms import resize_image
from wsis.methods.encode import box_masks
from wsis.methods.grabcut.cut import cut_boxes


def boxed_masks(kind: str, boxes: Tensor, sample: Sample) -> list[dict]:
    """N compressed RLE dictionaries of the original image.

    GrabCut sees the image in its original size, and each of its masks depends on image, box and rank alone.

    Args:
        kind: "boxes" (BoxInst, Table 3) or "grabcut" (BoxInst, Table 5)
        boxes: N x 4 xyxy pixels of the original image, best first
    """
    if kind == "boxes":
        return box_masks(boxes, sample.size)
    image = resize_image(sample.image.permute(1, 2, 0).cpu().numpy(), *sample.size)
    seeds = [zlib.crc32(f"{sample.id}/{rank}".encode()) for rank in range(len(boxes))]
    return [cut.rle for cut in cut_boxes(image, boxes.tolist(), seeds)]
