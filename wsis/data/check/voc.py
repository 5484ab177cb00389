"""Check VOC2012 roots, whose masks are palette PNG files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import numpy as np

from wsis.data.check.images import Images, read_png
from wsis.data.check.report import FETCH, CheckReport, Uses, official_count
from wsis.data.official_sizes import OFFICIAL
from wsis.data.voc import CATEGORIES, CORNERS, VOID, listed_names, read_boxes, split_file
from wsis.errors import WsisError


def check_voc(root: Path, report: CheckReport, images: Images, uses: Uses) -> None:
    """Add what is wrong with a VOC2012 root to the report."""
    listings = sorted((root / "ImageSets" / "Segmentation").glob("*.txt"))
    if not listings:
        where = root / "ImageSets" / "Segmentation"
        report.problem("split", where, "holds no <split>.txt", "put VOC's train.txt and val.txt there")
    if not (root / "JPEGImages").is_dir():
        report.problem("folder", root / "JPEGImages", "missing", "give VOC2012's folder of this name")
    for split in uses.missing(listing.stem for listing in listings):
        report.problem("split", split_file(root, split), "missing", "list the images of this split there")
    names: set[str] = set()
    evaluated: set[str] = set()
    for listing in listings:
        if not uses.evaluated(listing.stem) and not uses.trained(listing.stem):
            continue
        listed = read_names(listing, report)
        names.update(listed)
        if uses.evaluated(listing.stem) and not uses.predict_only:
            evaluated.update(listed)
        official_count(report, listing, len(listed), OFFICIAL["voc"].get(listing.stem))
    wanted, bare, unlabelled, boxes = [], [], [], []
    for name in sorted(names):
        annotation = root / "Annotations" / f"{name}.xml"
        masked = (root / "SegmentationObject" / f"{name}.png").exists()
        if annotation.exists() and not masked and name not in evaluated and not uses.reads_masks:
            size, instances = _boxes(annotation, name, report)
            boxes.append(name)
        elif uses.supervisions == {"semantic"} and not masked and name not in evaluated:
            size, instances = _classes(root, name, report)
        else:
            size, instances = _segmentation(root, name, report)
        wanted.append((root / "JPEGImages" / f"{name}.jpg", name, size))
        if instances == 0:
            bare.append(name)
        if annotation.exists():
            _xml(annotation, size, name, report)
        else:
            unlabelled.append(name)
    images.check(wanted)
    if boxes:
        text = f"{len(boxes)} of {len(names)} image(s) with an XML and no mask, for example {boxes[0]}"
        advice = "boxes suffice for rows that learn from boxes; rows that learn masks use the other images"
        report.note("boxes", root / "SegmentationObject", text, advice)
    if bare:
        text = f"{len(bare)} image(s) without an instance, for example {bare[0]}"
        report.note("no annotation", root, text, "handled: left out of training, kept in evaluation")
    if unlabelled:
        text = f"{len(unlabelled)} image(s) without XML, for example {unlabelled[0]}"
        report.note("xml", root / "Annotations", text, "handled: boxes are taken from the masks")


def read_names(listing: Path, report: CheckReport) -> list[str]:
    """Names listed in a file, one a line; those that are no names of files are reported and left out."""
    try:
        listed = listed_names(listing)
    except WsisError as error:
        text = str(error).removeprefix(f"{listing}: ")
        report.problem("split", listing, text, FETCH)
        return []
    unsafe = [name for name in listed if "/" in name or "\\" in name or name.startswith(".")]
    for name in unsafe:
        text = f"'{name}' is not an image's name"
        report.problem("split", listing, text, "one name a line, without folder", name)
    for name in sorted(name for name, times in Counter(listed).items() if times > 1):
        report.problem("split", listing, "listed twice", "list each image once", name)
    return [name for name in listed if name not in unsafe]


def _boxes(xml: Path, name: str, report: CheckReport) -> tuple[tuple[int, int] | None, int]:
    """((height, width) or None, number of boxes; -1 where it can't be told) of an image without masks."""
    try:
        size, boxes = read_boxes(xml)
    except WsisError as error:
        text, _, advice = str(error).removeprefix(f"{xml}: ").partition("; ")
        report.problem("xml", xml, text, advice or FETCH, name)
        return None, -1
    report.count("boxes without masks", len(boxes))
    return size, len(boxes)


def _classes(root: Path, name: str, report: CheckReport) -> tuple[tuple[int, int] | None, int]:
    """((height, width) or None, -1) of an image that is trained on with its semantic map alone."""
    path = root / "SegmentationClass" / f"{name}.png"
    values = read_png(path)
    if isinstance(values, str):
        report.problem("mask", path, values, "put VOC's palette PNG there", name)
        return None, -1
    return values.shape, -1


def _segmentation(root: Path, name: str, report: CheckReport) -> tuple[tuple[int, int] | None, int]:
    """((height, width) or None, number of instances; -1 where it can't be told)."""
    maps = {}
    for folder in ("SegmentationObject", "SegmentationClass"):
        path = root / folder / f"{name}.png"
        maps[folder] = read_png(path)
        if isinstance(maps[folder], str):
            report.problem("mask", path, maps[folder], "put VOC's palette PNG there", name)
    objects, classes = maps["SegmentationObject"], maps["SegmentationClass"]
    if isinstance(objects, str) or isinstance(classes, str):
        return None, -1
    path = root / "SegmentationObject" / f"{name}.png"
    if objects.shape != classes.shape:
        report.problem("mask", path, "its size differs from that of SegmentationClass", FETCH, name)
        return None, -1
    unknown = set(np.unique(classes).tolist()) - {0, VOID, *CATEGORIES}
    if unknown:
        text = f"SegmentationClass has values {sorted(unknown)[:5]} that are no VOC class"
        file = root / "SegmentationClass" / f"{name}.png"
        report.problem("class", file, text, "use 0, 1 to 20 and 255", name)
    instances = [value for value in np.unique(objects).tolist() if value not in (0, VOID)]
    for value in instances:
        if not np.isin(classes[objects == value], list(CATEGORIES)).any():
            report.problem("class", path, f"instance {value} has no class", "mend SegmentationClass", name)
    report.count("instances", len(instances))
    return objects.shape, len(instances)


def _xml(path: Path, size: tuple[int, int] | None, name: str, report: CheckReport) -> None:
    try:
        tree = ElementTree.parse(path).getroot()
        boxes = [
            [float(obj.findtext(f"bndbox/{key}", "nan")) for key in CORNERS] for obj in tree.iter("object")
        ]
    except (OSError, ValueError, ElementTree.ParseError) as error:
        report.problem("xml", path, f"not valid ({error})", FETCH, name)
        return
    for box in boxes:
        x0, y0, x1, y1 = box
        inside = size is None or (x0 >= 0 and y0 >= 0 and x1 <= size[1] + 1 and y1 <= size[0] + 1)
        if not (x1 > x0 and y1 > y0 and inside):
            text = f"box {box} is empty, not a number, or leaves the image"
            report.problem("box", path, text, "correct it", name)
