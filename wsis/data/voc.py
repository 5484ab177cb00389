"""Read a VOC2012 root (ImageSets, JPEGImages, SegmentationClass, SegmentationObject) in COCO's format.

An instance is one value of the SegmentationObject PNG other than 0 (background) and 255 (void); its class is
the most frequent class among its pixels; its box is tight around them.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from wsis.errors import WsisError

VOID = 255
CATEGORIES = dict(
    enumerate(
        (
            "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
            "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
            "tvmonitor",
        ),
        start=1,
    )
)  # fmt: skip


def split_file(path: Path, split: str) -> Path:
    return path / "ImageSets" / "Segmentation" / f"{split}.txt"


def read_names(path: Path, split: str) -> list[str]:
    """Image names of a split, in the file's order."""
    return split_file(path, split).read_text().split()


def image_ids(names: list[str]) -> list[int]:
    """2007_000063 -> 2007000063; the position from 1 where any name is not of that form."""
    if all(re.fullmatch(r"\d{4}_\d{6}", name) for name in names):
        return [int(name.replace("_", "")) for name in names]
    return list(range(1, len(names) + 1))


def read_indices(path: Path) -> np.ndarray:
    """Palette indices of a segmentation PNG, h x w uint8. Raises WsisError naming the file."""
    try:
        with Image.open(path) as file:
            if file.mode not in ("P", "L"):
                raise WsisError(f"{path}: expected a palette PNG, found mode {file.mode}")
            return np.asarray(file)
    except OSError as error:
        raise WsisError(f"{path}: can't be read ({error}); run `wsis data check` on the root") from None


def read_voc(path: Path, split: str, masks: bool = True, ids: Set[int] | None = None) -> dict:
    """{"info", "images", "categories", "annotations"} of one split, in COCO's format.

    masks False: the images' ids and names only, without opening a PNG. ids: of the images wanted; None: all.
    """
    names = read_names(path, split)
    categories = [{"id": id, "name": name} for id, name in CATEGORIES.items()]
    content = {"info": {}, "images": [], "categories": categories, "annotations": []}
    for id, name in zip(image_ids(names), names, strict=True):
        if ids is not None and id not in ids:
            continue
        image = {"id": id, "file_name": f"{name}.jpg"}
        content["images"].append(image)
        if not masks:
            continue
        objects = read_indices(path / "SegmentationObject" / f"{name}.png")
        classes = read_indices(path / "SegmentationClass" / f"{name}.png")
        if objects.shape != classes.shape:
            raise WsisError(
                f"{path}/SegmentationObject/{name}.png: its size differs from SegmentationClass's"
            )
        image["height"], image["width"] = objects.shape
        content["annotations"] += _instances(objects, classes, id, len(content["annotations"]) + 1)
    return content


def _instances(objects: np.ndarray, classes: np.ndarray, image_id: int, first: int) -> list[dict]:
    annotations = []
    for value in np.unique(objects):
        if value in (0, VOID):
            continue
        mask = objects == value
        votes = np.bincount(classes[mask], minlength=256)
        votes[[0, VOID]] = 0
        category = int(votes.argmax())
        if category not in CATEGORIES:
            continue  # every pixel of it is background or void in SegmentationClass
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x, y = int(columns[0]), int(rows[0])
        encoded = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        annotations.append(
            {
                "id": first + len(annotations),
                "image_id": image_id,
                "category_id": category,
                "iscrowd": 0,
                "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
                "area": float(mask.sum()),
                "segmentation": {"size": list(encoded["size"]), "counts": encoded["counts"].decode()},
            }
        )
    return annotations
