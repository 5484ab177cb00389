"""Check a root of COCO's layout: every annotations/instances_<split>.json and the images it lists."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from numbers import Real
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from wsis.data.check.report import CheckReport, Images, official_count
from wsis.evaluation.rle import decode_runs, truth_rle

OUTSIDE = 2.0  # pixels that COCO's own polygons and boxes may stick out of the image
AREA_FACTOR = 2.0  # `area` and the mask's pixels may differ by this; COCO's own differ by a few per cent
LONGEST = 30000  # pixels a side that pycocotools' run lengths can hold
MEND = "correct or remove it"
Problem = tuple[str, str, str]  # kind, text, advice


def check_coco(root: Path, report: CheckReport, images: Images) -> None:
    """Add what is wrong with the root to the report."""
    from wsis.data.roots import OFFICIAL

    files = sorted((root / "annotations").glob("instances_*.json"))
    if not files:
        text = "holds no instances_<split>.json"
        report.problem("annotations", root / "annotations", text, "put the annotation files there")
    for file in files:
        split = file.stem.removeprefix("instances_")
        content = _read(file, report)
        if content is None:
            continue
        folder = root / split
        if not folder.is_dir() and content["images"]:
            text = f"missing, but {file.name} lists its images"
            report.problem("folder", folder, text, "put the images there")
            folder = None
        sizes = _images(file, folder, content["images"], report, images)
        categories = _categories(file, content["categories"], report)
        _annotations(file, content, sizes, categories, report)
        official_count(report, file, len(sizes), OFFICIAL["coco"].get(split))


def _read(file: Path, report: CheckReport) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        report.problem("json", file, f"not valid JSON ({error})", "it may be cut short: fetch it again")
        return None
    except RecursionError:
        report.problem("json", file, "nested too deeply", "fetch it again")
        return None
    for key in ("images", "annotations", "categories"):
        part = content.get(key) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            text = f"has no list '{key}' of objects"
            report.problem("json", file, text, "it must be a COCO instances file")
            return None
    return content


def _images(
    file: Path, folder: Path | None, entries: list[dict], report: CheckReport, images: Images
) -> dict[int, tuple[int, int]]:
    """Image id -> (height, width) of the usable entries; files are looked at where the folder exists."""
    sizes: dict[int, tuple[int, int]] = {}
    wanted = []
    for entry in entries:
        id = entry.get("id")
        if not _whole(id):
            report.problem("image id", file, f"an image has id {id!r}", "ids must be whole numbers", str(id))
            continue
        if id in sizes:
            report.problem("image id", file, "two images have this id", MEND, id)
            continue
        name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
        if not all(_whole(side) and 0 < side <= LONGEST for side in (height, width)):
            report.problem("image", file, f"height {height!r} and width {width!r} are not sizes", MEND, id)
            continue
        sizes[id] = (height, width)
        if not isinstance(name, str) or not name or Path(name).is_absolute() or ".." in Path(name).parts:
            text = f"file_name {name!r} is not a file below the split's folder"
            report.problem("image", file, text, MEND, id)
        elif folder is not None:
            wanted.append((folder / name, id, (height, width)))
    images.check(wanted)
    return sizes


def _categories(file: Path, entries: list[dict], report: CheckReport) -> set[int]:
    ids: set[int] = set()
    for entry in entries:
        id = entry.get("id")
        if not _whole(id) or not isinstance(entry.get("name"), str):
            report.problem("category", file, f"category {entry!r} lacks a whole id or a name", MEND, str(id))
        elif id in ids:
            report.problem("category", file, "two categories have this id", MEND, id)
        else:
            ids.add(id)
    return ids


def _annotations(
    file: Path, content: dict, sizes: dict[int, tuple[int, int]], categories: set[int], report: CheckReport
) -> None:
    info = content.get("info")
    scale = info.get("area_scale", 1.0) if isinstance(info, dict) else 1.0
    scale = scale if _finite(scale) and scale > 0 else 1.0
    seen: set[int] = set()
    annotated: set[int] = set()
    crowd = different = 0
    for annotation in content["annotations"]:
        id = annotation.get("id")
        for kind, text, advice in _ids(annotation, seen, sizes, categories):
            report.problem(kind, file, text, advice, id if _whole(id) else str(id))
        if _whole(id):
            seen.add(id)
        size = sizes.get(annotation["image_id"]) if _whole(annotation.get("image_id")) else None
        if size is not None:
            annotated.add(annotation["image_id"])
        pixels, of_mask = _mask(annotation.get("segmentation"), size)
        for kind, text, advice in (*_numbers(annotation), *_box(annotation.get("bbox"), size), *of_mask):
            report.problem(kind, file, text, advice, id)
        area = annotation.get("area")
        if pixels and _finite(area) and not 1 / AREA_FACTOR <= area / scale / pixels <= AREA_FACTOR:
            different += pixels > 64
        crowd += annotation.get("iscrowd") == 1
    report.count("annotations", len(content["annotations"]))
    if bare := sorted(set(sizes) - annotated):
        text = f"{len(bare)} image(s) without annotations, for example {bare[0]}"
        report.note("no annotation", file, text, "handled: left out of training, kept in evaluation")
    if crowd:
        text = f"{crowd} crowd region(s)"
        advice = "handled: left out of training, ignored by the evaluation as in COCO"
        report.note("crowd", file, text, advice)
    if different:
        text = f"{different} annotation(s) whose area is more than {AREA_FACTOR:g} times off the mask's"
        advice = "it decides between small, medium and large: check where it comes from"
        report.note("area", file, text, advice)


def _ids(
    annotation: dict, seen: set[int], sizes: dict[int, tuple[int, int]], categories: set[int]
) -> Iterator[Problem]:
    id, image, category = (annotation.get(key) for key in ("id", "image_id", "category_id"))
    if not _whole(id):
        yield "annotation id", f"an annotation has id {id!r}", "ids must be whole numbers from 1"
    elif id == 0:
        yield "id 0", "annotation id 0: pycocotools takes it for 'not matched'", "number annotations from 1"
    elif id in seen:
        yield "annotation id", "two annotations have this id", "ids must be unique"
    if not _whole(image) or image not in sizes:
        yield "join", f"image_id {image!r} is no image of this file", MEND
    if not _whole(category) or category not in categories:
        yield "join", f"category_id {category!r} is no category of this file", MEND


def _numbers(annotation: dict) -> Iterator[Problem]:
    area, crowd = annotation.get("area"), annotation.get("iscrowd")
    if "area" not in annotation:
        yield "area", "area is missing", "give the mask's area in pixels"
    elif not _finite(area) or area <= 0:
        yield "area", f"area {area!r} is not a positive number", "give the mask's area in pixels"
    if "iscrowd" not in annotation:
        yield "iscrowd", "iscrowd is missing", "give 0, or 1 for a region of many objects"
    elif isinstance(crowd, bool) or crowd not in (0, 1):
        yield "iscrowd", f"iscrowd is {crowd!r}", "give 0, or 1 for a region of many objects"


def _box(box: Any, size: tuple[int, int] | None) -> Iterator[Problem]:
    if not isinstance(box, list) or len(box) != 4 or not all(_finite(v) for v in box):
        yield "box", f"bbox {box!r} is not four finite numbers", "give [x, y, width, height] in pixels"
        return
    x, y, w, h = box
    if w <= 0 or h <= 0:
        yield "box", f"bbox {box} is empty", MEND
    elif size is not None and (
        x < -OUTSIDE or y < -OUTSIDE or x + w > size[1] + OUTSIDE or y + h > size[0] + OUTSIDE
    ):
        yield "box", f"bbox {box} leaves the image of {size[1]}x{size[0]}", MEND


def _mask(segmentation: Any, size: tuple[int, int] | None) -> tuple[int, list[Problem]]:
    """(pixels of the mask, what is wrong with it); nothing is checked where the image's size is unknown."""
    if size is None:
        return 0, []
    if isinstance(segmentation, list):
        text, advice = _wrong_polygons(segmentation, size), MEND
    elif isinstance(segmentation, dict) and "counts" in segmentation:
        text, advice = _wrong_runs(segmentation, size)
    else:
        text, advice = "segmentation is missing or of an unknown kind", "give COCO polygons or an RLE"
    if text:
        return 0, [("mask", text, advice)]
    pixels = int(rle.area(truth_rle(segmentation, size)))
    return pixels, [] if pixels else [("mask", "the mask is empty", MEND)]


def _wrong_polygons(polygons: list, size: tuple[int, int]) -> str:
    if not polygons:
        return "the mask has no polygon"
    for polygon in polygons:
        is_list = isinstance(polygon, list)
        if not is_list or len(polygon) < 6 or len(polygon) % 2 or not all(map(_finite, polygon)):
            return "a polygon is not a list of three or more finite points x, y"
        for points, limit in ((polygon[0::2], size[1]), (polygon[1::2], size[0])):
            if min(points) < -OUTSIDE or max(points) > limit + OUTSIDE:
                return f"a polygon leaves the image of {size[1]}x{size[0]}"
    return ""


def _wrong_runs(segmentation: dict, size: tuple[int, int]) -> tuple[str, str]:
    """(what is wrong with an RLE or '', advice): pycocotools trusts what it is given."""
    if segmentation.get("size") != list(size):
        return f"the mask's size {segmentation.get('size')} is not the image's {list(size)}", MEND
    try:
        pixels = sum(decode_runs(segmentation["counts"]).tolist())
    except (ValueError, OverflowError):
        pixels = None
    if pixels == size[0] * size[1]:
        return "", ""
    return f"the RLE's runs do not add up to {size[0]} x {size[1]} pixels", "encode the mask again"


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _finite(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
