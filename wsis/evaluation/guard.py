"""Refuse what COCO evaluators silently read wrong, and fix the order of ties.

Unguarded, an evaluator loses the match of an annotation with id 0 (pycocotools reads 0 as 'unmatched'),
compares NaN scores, drops detections on unknown images, scores a box as a filled rectangle, takes a mask's
area from its box (which moves APS, APM, APL), reads a mask in a wrong size, and changes AP with the order of
equal scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wsis.errors import WsisError, brief
from wsis.evaluation.rle import (
    areas,
    as_bytes,
    check_outline,
    check_pixels,
    check_size,
    decode_runs,
    is_number,
)
from wsis.files import read_json, uncollected

_MOST_ID = 2**53  # pycocotools keeps ids as floats
_MOST_PIXELS = 2**31  # of an image: pycocotools counts them in 32 bits
_TOGETHER = 1000  # masks that are read at once


class GuardError(WsisError):
    """A ground truth or a predictions file that must not be evaluated: file, entry and what is wrong."""


@dataclass(frozen=True)
class Truth:
    """A checked COCO ground truth.

    dataset:    the file's content, as pycocotools takes it
    sizes:      image id -> (h, w)
    categories: category id -> name, sorted by id
    area_scale: `info.area_scale`, 1 where absent: the file's `area` is the pixel area times this. Synthetic
                images much smaller than COCO's state the areas of the reference images they stand for.
    """

    path: Path
    dataset: dict[str, Any]
    sizes: dict[int, tuple[int, int]]
    categories: dict[int, str]
    area_scale: float

    @property
    def annotations(self) -> list[dict[str, Any]]:
        return self.dataset["annotations"]

    def chosen(self, image_ids: Iterable[int] | None) -> list[int]:
        """Sorted ids of the images to evaluate on; None: all. Raises GuardError for an unknown one."""
        chosen = sorted(self.sizes if image_ids is None else {int(i) for i in image_ids})
        if unknown := [i for i in chosen if i not in self.sizes]:
            raise GuardError(
                f"{self.path}: asked to evaluate on image {unknown[0]}, which is not in this file"
            )
        if not chosen:
            raise GuardError(f"{self.path}: no image to evaluate on")
        return chosen


def read_truth(path: Path, labelled: bool = True) -> Truth:
    """Read and check a COCO ground truth; `labelled=False` for test images, which have no annotations.

    A file is checked once for all runs that a process evaluates on it, as long as its content stays the same.
    Raises GuardError naming the file and the entry.
    """
    path = Path(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return _checked_truth(path, labelled, digest)


@lru_cache(maxsize=2)
def _checked_truth(path: Path, labelled: bool, digest: str) -> Truth:
    truth = read_tables(path, labelled)
    for index, text in annotation_faults(truth) if labelled else ():
        entry = truth.annotations[index]
        number = f" (id {brief(entry['id'])})" if isinstance(entry, dict) and "id" in entry else ""
        raise GuardError(f"{path}: annotations[{index}]{number}: {text}")
    return truth


def read_tables(path: Path, labelled: bool = True) -> Truth:
    """A ground truth whose images and categories are checked, its annotations not yet; as `read_truth`."""
    dataset = read_json(path)
    if not isinstance(dataset, dict):
        raise GuardError(f"{path}: expected a COCO ground truth (an object), got {brief(dataset)}")
    for key in ("images", "categories", *(("annotations",) if labelled else ())):
        if not isinstance(dataset.get(key), list):
            raise GuardError(f"{path}: '{key}' is missing or not a list")
    sizes: dict[int, tuple[int, int]] = {}
    for index, image in enumerate(dataset["images"]):
        where = f"{path}: images[{index}]"
        if _key(image, "id", where) in sizes:
            raise GuardError(f"{where}: image id {image['id']} is given twice")
        sizes[image["id"]] = (_key(image, "height", where), _key(image, "width", where))
        height, width = sizes[image["id"]]
        if min(height, width) <= 0 or height * width >= _MOST_PIXELS:
            raise GuardError(
                f"{where}: 'height' and 'width' must be above 0, and below {_MOST_PIXELS} pixels"
            )
    categories: dict[int, str] = {}
    for index, category in enumerate(dataset["categories"]):
        where = f"{path}: categories[{index}]"
        name = category.get("name") if isinstance(category, dict) else None
        if not isinstance(name, str):
            raise GuardError(f"{where}: 'name' is missing")
        if _key(category, "id", where) in categories or name in categories.values():
            raise GuardError(f"{where}: category {category['id']} '{name}' is given twice")
        categories[category["id"]] = name
    info = dataset.get("info") or {}
    if not isinstance(info, dict):
        raise GuardError(f"{path}: 'info' must be an object, got {brief(info)}")
    scale = info.get("area_scale", 1.0)
    if not is_number(scale) or scale <= 0:
        raise GuardError(f"{path}: info.area_scale must be a positive number, got {brief(scale)}")
    return Truth(Path(path), dataset, sizes, dict(sorted(categories.items())), float(scale))


def read_predictions(path: Path, truth: Truth, images: Collection[int] | None = None) -> list[dict[str, Any]]:
    """Read and check COCO instance results against `truth`; `images` limits them to these image ids.

    Returns one entry a detection: image_id, category_id, score (float), segmentation ({"size": [h, w],
    "counts": bytes}), area (in the ground truth's unit), annotation_id where the file has it; never a box.
    Sorted by image, descending score, category, counts, so that the file's order doesn't matter.
    Raises GuardError naming the file and the entry.
    """
    entries = read_json(path)
    if not isinstance(entries, list):
        raise GuardError(f"{path}: expected COCO results (a list), got {brief(entries)}")
    images = truth.sizes if images is None else set(images)
    with uncollected():
        checked = [_checked(entry, f"{path}: entry {i}", truth, images) for i, entry in enumerate(entries)]
        for start in range(0, len(checked), _TOGETHER):
            _measure(checked[start : start + _TOGETHER], start, path, truth)
    checked.sort(key=_order)
    return checked


def _order(entry: dict[str, Any]) -> tuple[int, float, int, bytes]:
    return entry["image_id"], -entry["score"], entry["category_id"], entry["segmentation"]["counts"]


def _checked(entry: Any, where: str, truth: Truth, images: Collection[int]) -> dict[str, Any]:
    """What of an entry is evaluated. Its mask's runs are not looked at yet."""
    image, category = _key(entry, "image_id", where), _key(entry, "category_id", where)
    if image not in truth.sizes:
        raise GuardError(f"{where}: image {image} is not in {truth.path}")
    if image not in images:
        raise GuardError(f"{where}: image {image} is not among the {len(images)} images to evaluate on")
    if category not in truth.categories:
        raise GuardError(
            f"{where}: category {category} is not in {truth.path}; predictions carry the file's"
            " category ids, not contiguous labels"
        )
    if not is_number(score := entry.get("score")):
        raise GuardError(f"{where}: 'score' must be a finite number, got {brief(score)}")
    segmentation = entry.get("segmentation")
    if not segmentation:
        raise GuardError(
            f"{where}: {'a box without a mask' if entry.get('bbox') else 'no mask'} on image {image};"
            " an evaluator would score a filled rectangle. Write 'segmentation' as RLE"
        )
    if not isinstance(segmentation, dict) or not isinstance(segmentation.get("counts"), str):
        raise GuardError(f"{where}: 'segmentation' must be compressed RLE ({{'size', 'counts'}} with text)")
    try:
        check_size(size := segmentation.get("size"), truth.sizes[image])
    except ValueError as error:
        raise GuardError(f"{where}: image {image}: {error}") from None
    rle = {"size": size, "counts": as_bytes(segmentation["counts"])}
    kept = {"image_id": image, "category_id": category, "score": float(score), "segmentation": rle}
    if "annotation_id" in entry:
        kept["annotation_id"] = _key(entry, "annotation_id", where)
    return kept


def _measure(entries: list[dict[str, Any]], start: int, path: Path, truth: Truth) -> None:
    """Check the masks of `entries`, which begin with the file's entry `start`, and give them their areas."""
    masks = [(entry["segmentation"]["counts"], truth.sizes[entry["image_id"]]) for entry in entries]
    try:
        pixels = areas(masks)
    except ValueError:
        number, text = next(_misread(masks))
        image = entries[number]["image_id"]
        raise GuardError(f"{path}: entry {start + number}: image {image}: {text}") from None
    for entry, area in zip(entries, (pixels * truth.area_scale).tolist(), strict=True):
        entry["area"] = area


def _misread(masks: Iterable[tuple[bytes, tuple[int, int]]]) -> Iterator[tuple[int, str]]:
    """(position, what is wrong) of the masks, compressed counts and size, whose runs don't fill the image."""
    for position, (counts, size) in enumerate(masks):
        try:
            check_pixels(decode_runs(counts), size)
        except ValueError as error:
            yield position, str(error)


def annotation_faults(truth: Truth) -> Iterator[tuple[int, str]]:
    """(position, what is wrong) of each annotation that can't be evaluated; the first fault of each."""
    seen: set[int] = set()
    for start in range(0, len(truth.annotations), _TOGETHER):
        faults: dict[int, str] = {}
        unread: dict[int, tuple[bytes, tuple[int, int]]] = {}  # position -> compressed counts and size
        for index, entry in enumerate(truth.annotations[start : start + _TOGETHER], start):
            try:
                if (counts := _check_annotation(entry, truth, seen)) is not None:
                    unread[index] = as_bytes(counts), truth.sizes[entry["image_id"]]
            except ValueError as error:
                faults[index] = str(error)
        try:
            areas(unread.values())
        except ValueError:
            positions = list(unread)
            faults |= {positions[number]: text for number, text in _misread(unread.values())}
        yield from sorted(faults.items())


def _check_annotation(entry: Any, truth: Truth, seen: set[int]) -> str | None:
    """Raise ValueError for an annotation that can't be evaluated; seen: ids of those before it.

    Returns compressed counts, whose runs are not looked at yet.
    """
    number = _integer(entry, "id")
    if number <= 0:
        raise ValueError("ids must start at 1: pycocotools reads id 0 as 'unmatched'")
    if number in seen:
        raise ValueError("this id is given twice")
    seen.add(number)
    if _integer(entry, "image_id") not in truth.sizes:
        raise ValueError(f"image {entry['image_id']} is not in 'images'")
    if _integer(entry, "category_id") not in truth.categories:
        raise ValueError(f"category {entry['category_id']} is not in 'categories'")
    outline, size = entry.get("segmentation"), truth.sizes[entry["image_id"]]
    counts = outline.get("counts") if isinstance(outline, dict) else None
    if isinstance(counts, str):
        check_size(outline.get("size"), size)
    else:
        check_outline(outline, size)
    if not is_number(area := entry.get("area")) or area < 0:
        raise ValueError(f"'area' must be a number from 0, got {brief(area)}")
    if type(entry.get("iscrowd")) is not int or entry["iscrowd"] not in (0, 1):
        raise ValueError(f"'iscrowd' must be 0 or 1, got {brief(entry.get('iscrowd'))}")
    return counts if isinstance(counts, str) else None


def _key(entry: Any, key: str, where: str) -> int:
    """The integer under `key`; GuardError otherwise."""
    try:
        return _integer(entry, key)
    except ValueError as error:
        raise GuardError(f"{where}: {error}") from None


def _integer(entry: Any, key: str) -> int:
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object, got {brief(entry)}")
    value = entry.get(key)
    if type(value) is not int or abs(value) >= _MOST_ID:
        raise ValueError(f"'{key}' must be an integer below 2^53, got {brief(value)}")
    return value
