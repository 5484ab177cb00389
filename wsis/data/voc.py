"""Read a VOC2012 root (ImageSets, JPEGImages, SegmentationClass, SegmentationObject) in COCO's format.

An instance is one value of the SegmentationObject PNG other than 0 (background) and 255 (void); its class is
the most frequent class among its pixels; its box is tight around them. An image without that PNG has the
boxes of its XML in Annotations, and no masks.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Set
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from wsis.data.pixels import is_below
from wsis.errors import WsisError

VOID = 255
CORNERS = ("xmin", "ymin", "xmax", "ymax")
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
    """Image names of a split, in the file's order. Raises WsisError for one that leaves the root."""
    listing = split_file(path, split)
    names = listed_names(listing)
    for name in names:
        if not is_below(name):
            raise WsisError(f"{listing}: '{name}' is not an image's name; one name a line, without folder")
    return names


def listed_names(listing: Path) -> list[str]:
    """The lines of a list, without blanks around them (names may have some inside) and byte order mark.

    Raises WsisError where it can't be read.
    """
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise WsisError(f"{listing}: can't be read ({error}); list one name a line") from None
    return [line.strip() for line in lines if line.strip()]


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
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise WsisError(f"{path}: can't be read ({error}); run `wsis data check` on the root") from None


def read_boxes(path: Path) -> tuple[tuple[int, int], list[tuple[int, list[float]]]]:
    """((h, w), (category id, [x, y, w, h]) of each object) of an XML file. Raises WsisError naming it.

    VOC counts pixels from 1, and the last one belongs to the box.
    """
    ids, boxes = {name: id for id, name in CATEGORIES.items()}, []
    try:
        tree = ElementTree.parse(path).getroot()
        size = int(tree.findtext("size/height", "")), int(tree.findtext("size/width", ""))
        for entry in tree.iter("object"):
            x0, y0, x1, y1 = (float(entry.findtext(f"bndbox/{key}", "")) for key in CORNERS)
            boxes.append(
                (ids[entry.findtext("name", "").strip()], [x0 - 1, y0 - 1, x1 - x0 + 1, y1 - y0 + 1])
            )
    except KeyError as error:
        raise WsisError(
            f"{path}: {error} is none of VOC's classes; make a COCO root of other classes"
        ) from None
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise WsisError(f"{path}: not a VOC annotation with size and boxes ({error})") from None
    return size, boxes


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
        xml = path / "Annotations" / f"{name}.xml"
        if xml.exists() and not (path / "SegmentationObject" / f"{name}.png").exists():
            (image["height"], image["width"]), boxes = read_boxes(xml)
            first = len(content["annotations"]) + 1
            for number, (category, box) in enumerate(boxes, first):
                annotation = {"id": number, "image_id": id, "category_id": category, "bbox": box}
                content["annotations"].append(annotation)
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
