"""A split's annotations as columns of numbers, and the pictures that are made of them when asked for.

COCO's training split has 860,000 objects. As objects of Python they take gigabytes of each process; columns
are mapped into the memory of all processes, and cost next to nothing.
M images by id, K objects image by image and in the file's order within one. Boxes are xyxy, original pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from wsis.data.pixels import inside, is_below
from wsis.errors import brief
from wsis.evaluation.rle import is_number

Box = tuple[float, float, float, float]


@dataclass(slots=True)
class Instance:
    """One annotated object. segmentation: COCO polygons or RLE, None where it is hidden or there is none."""

    id: int
    label: int
    box: Box
    crowd: bool
    segmentation: list | dict | None


@dataclass(slots=True)
class Picture:
    """One image of a split and what is annotated in it."""

    id: int
    path: Path
    height: int
    width: int
    instances: list[Instance] = field(default_factory=list)


@dataclass(frozen=True)
class Annotations:
    """The columns of a split.

    ids: M int64, sorted; sizes: M x 2 int64 (height, width)
    starts: M + 1 int64, where each image's objects begin
    numbers, categories: K int64; boxes: K x 4 float64; crowd: K bool
    names, outlines: UTF-8 of the file names, and JSON of the segmentations (empty: none), one after another;
    name_ends: M + 1, outline_ends: K + 1 int64, from 0 on
    """

    ids: np.ndarray
    sizes: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    crowd: np.ndarray
    names: np.ndarray
    name_ends: np.ndarray
    outlines: np.ndarray
    outline_ends: np.ndarray

    @property
    def outlined(self) -> np.ndarray:
        """K bool: which objects have a segmentation."""
        return np.diff(self.outline_ends) > 0

    def counted(self, chosen: np.ndarray) -> np.ndarray:
        """How many of the chosen objects (K bool) each image has; M int64."""
        return np.diff(np.concatenate([[0], np.cumsum(chosen)])[self.starts])

    def outline(self, row: int) -> list | dict | None:
        """An object's segmentation, as the file has it."""
        first, last = self.outline_ends[row : row + 2]
        return json.loads(self.outlines[first:last].tobytes()) if last > first else None

    def name(self, row: int) -> str:
        """An image's file name."""
        return self.names[slice(*self.name_ends[row : row + 2])].tobytes().decode()


COLUMNS = tuple(column.name for column in fields(Annotations))


def columns(content: dict[str, Any]) -> Annotations:
    """The columns of a COCO file's content.

    Raises AttributeError, KeyError, TypeError or ValueError for an image or annotation that can't be read.
    """
    images = {image["id"]: image for image in content["images"]}
    for id, image in images.items():
        if not all(type(number) is int for number in (id, image["height"], image["width"])):
            raise ValueError(f"id, height and width of image {brief(id)} must be whole numbers")
        if not is_below(image["file_name"]):
            raise ValueError(f"file_name {brief(image['file_name'])} leaves the folder of its split")
    ids = sorted(images)
    rows = {id: row for row, id in enumerate(ids)}
    objects = content["annotations"]
    owner = np.array([rows[a["image_id"]] for a in objects], np.int64)
    order = np.argsort(owner, kind="stable")
    objects = [objects[place] for place in order]
    boxes = [_box(a) for a in objects]
    crowd = [_crowd(a) for a in objects]
    names, name_ends = _joined(images[id]["file_name"].encode() for id in ids)
    outlines, outline_ends = _joined(_text(a.get("segmentation")) for a in objects)
    return Annotations(
        ids=np.array(ids, np.int64),
        sizes=np.array([(images[id]["height"], images[id]["width"]) for id in ids], np.int64).reshape(-1, 2),
        starts=np.searchsorted(owner[order], np.arange(len(ids) + 1)),
        numbers=np.array([a["id"] for a in objects], np.int64),
        categories=np.array([a["category_id"] for a in objects], np.int64),
        boxes=np.array(boxes, np.float64).reshape(-1, 4),
        crowd=np.array(crowd, bool),
        names=names,
        name_ends=name_ends,
        outlines=outlines,
        outline_ends=outline_ends,
    )


def _box(annotation: dict[str, Any]) -> Box:
    x, y, w, h = box = annotation["bbox"]
    if not all(map(is_number, box)):
        raise ValueError(f"bbox {brief(box)} of annotation {annotation['id']} is not four finite numbers")
    return x, y, x + w, y + h


def _crowd(annotation: dict[str, Any]) -> bool:
    if (crowd := annotation.get("iscrowd") or 0) not in (0, 1):
        raise ValueError(f"iscrowd of annotation {annotation['id']} is {brief(crowd)}, not 0 or 1")
    return bool(crowd)


def _text(segmentation: Any) -> bytes:
    return json.dumps(segmentation, separators=(",", ":")).encode() if segmentation else b""


def _joined(texts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Texts one after another as uint8, and where each ends, 0 first."""
    texts = list(texts)
    ends = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return np.frombuffer(b"".join(texts), np.uint8), ends


class Pictures(Sequence[Picture]):
    """Some images of a split, each made anew when it is asked for.

    table: the split's columns; rows: of its images, int64; folder: of the files
    labels: category id -> contiguous label; visible: labels whose masks may be seen
    crowds: whether crowd regions are among a picture's instances
    supervise: changes a picture, once it is made
    """

    def __init__(
        self,
        table: Annotations,
        rows: np.ndarray,
        folder: Path,
        labels: dict[int, int],
        visible: set[int],
        crowds: bool = True,
        supervise: Callable[[Picture], None] | None = None,
    ) -> None:
        self.table, self.rows, self.folder = table, rows, folder
        self.labels, self.visible, self.crowds, self.supervise = labels, visible, crowds, supervise

    @cached_property
    def ids(self) -> np.ndarray:
        """Image ids, int64."""
        return self.table.ids[self.rows]

    @cached_property
    def sizes(self) -> np.ndarray:
        """(height, width) of each, int64."""
        return self.table.sizes[self.rows]

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return int(self.sizes.prod(1).sum())

    def objects(self) -> tuple[np.ndarray, np.ndarray]:
        """(picture, instance) positions of the annotated objects, N x 2 int64 in order, and boxes, N x 4."""
        table = self.table
        taken = np.ones(len(table.crowd), bool) if self.crowds else ~table.crowd
        owner = np.repeat(np.arange(len(table.ids)), np.diff(table.starts))
        before = np.concatenate([[0], np.cumsum(taken)])
        column = before[:-1] - before[table.starts[owner]]
        place = np.full(len(table.ids), -1)
        place[self.rows] = np.arange(len(self.rows))
        (chosen,) = np.nonzero(taken & (place[owner] >= 0))
        chosen = chosen[np.argsort(place[owner[chosen]], kind="stable")]
        return np.stack([place[owner[chosen]], column[chosen]], 1), table.boxes[chosen]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, place: int) -> Picture: ...
    @overload
    def __getitem__(self, place: slice) -> Pictures: ...
    def __getitem__(self, place: int | slice) -> Picture | Pictures:
        if isinstance(place, slice):
            how = self.folder, self.labels, self.visible, self.crowds, self.supervise
            return Pictures(self.table, self.rows[place], *how)
        row, table = int(self.rows[place]), self.table
        height, width = table.sizes[row].tolist()
        picture = Picture(int(table.ids[row]), inside(self.folder, table.name(row)), height, width)
        first, last = table.starts[row : row + 2].tolist()
        part = slice(first, last)
        of_objects = table.numbers, table.categories, table.boxes, table.crowd
        objects = zip(*(column[part].tolist() for column in of_objects), strict=True)
        for at, (number, category, box, crowd) in enumerate(objects, first):
            if crowd and not self.crowds:
                continue
            label = self.labels[category]
            outline = table.outline(at) if label in self.visible else None
            picture.instances.append(Instance(number, label, tuple(box), crowd, outline))
        if self.supervise is not None:
            self.supervise(picture)
        return picture
