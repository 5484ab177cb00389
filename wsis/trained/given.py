"""A COCO file whose boxes are given: what it says of images, and the same file with masks filled in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle
from skimage.measure import approximate_polygon, find_contours

from wsis.errors import WsisError
from wsis.files import read_json

CLOSE = 0.5  # pixels that a polygon's corners may leave the outline by


@dataclass(frozen=True)
class Listed:
    """What a COCO file says of an image, crowd regions left out.

    boxes: n x 4 xyxy; labels: class names; ids: of the annotations
    """

    id: int
    boxes: list[list[float]]
    labels: list[str]
    ids: list[int]


def listed_images(annotations: Path, files: Iterable[str]) -> dict[str, Listed]:
    """File name -> what `annotations`, a COCO file, says of it. Raises WsisError for one that isn't in it."""
    content = read_json(annotations)
    try:
        names = {each["id"]: each["name"] for each in content["categories"]}
        by_name = {each["file_name"]: Listed(each["id"], [], [], []) for each in content["images"]}
        by_id = {each.id: each for each in by_name.values()}
        for entry in content["annotations"]:
            if not entry.get("iscrowd"):
                x, y, w, h = entry["bbox"]
                image = by_id[entry["image_id"]]
                image.boxes.append([x, y, x + w, y + h])
                image.labels.append(names[entry["category_id"]])
                image.ids.append(entry["id"])
    except (KeyError, TypeError, ValueError) as error:
        raise WsisError(f"{annotations}: no COCO instances file ({type(error).__name__}: {error})") from None
    if missing := [name for name in files if name not in by_name]:
        raise WsisError(f"{annotations}: image {missing[0]} is not in it")
    return {name: by_name[name] for name in files}


def filled_in(
    annotations: Path, masks: Mapping[int, dict[str, Any]], polygons: bool = False
) -> dict[str, Any]:
    """The content of a COCO file with `segmentation`, `area` and `iscrowd` of the annotations in `masks`.

    masks:    annotation id -> compressed RLE with counts as text; where it is empty the annotation stays
    polygons: polygons instead of RLE, which keep no holes
    Raises WsisError where an image has another size than the file says.
    """
    content = read_json(annotations)
    images = {each["id"]: each for each in content["images"]}
    write: Callable[[dict[str, Any]], Any] = outlines if polygons else dict
    for entry in content["annotations"]:
        mask = masks.get(entry["id"])
        if mask is None:
            continue
        image = images[entry["image_id"]]
        said, found = [image.get("height"), image.get("width")], list(mask["size"])
        if None not in said and said != found:
            raise WsisError(
                f"{annotations}: image {image['id']} ({image['file_name']}) is {said[1]} x {said[0]} in the"
                f" file, but {found[1]} x {found[0]} as it is shown; its boxes may be of another picture"
            )
        if area := int(rle.area(mask)):
            entry |= {"segmentation": write(mask), "area": area, "iscrowd": 0}
    return content


def outlines(mask: dict[str, Any]) -> list[list[float]]:
    """COCO polygons around the parts of an RLE mask, pixels; [x0, y0, x1, y1, ...] each."""
    pixels = np.pad(rle.decode(mask), 1)
    polygons = []
    for line in find_contours(pixels.astype(np.float32), 0.5):  # (row, column) of pixel centres
        simpler = approximate_polygon(line, CLOSE)
        y, x = (simpler if len(simpler) > 3 else line)[:-1].T - 0.5  # off the padding, to borders
        if x @ np.roll(y, -1) > y @ np.roll(x, -1):  # clockwise: no hole
            polygons.append([round(float(value), 2) for corner in zip(x, y, strict=True) for value in corner])
    return polygons


def dumped(entries: Iterable[dict[str, Any]]) -> str:
    """A JSON list with a line an entry."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    return f"[{lines}]\n"
