"""Check annotations as those read them who train on them, and those who evaluate on them.

Evaluation is judged by the evaluator's own reader (`wsis.evaluation.guard`), so that the two can't disagree.
A training on boxes reads neither masks nor areas: what it doesn't read is counted and told in one note.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from wsis.data.check.report import CheckReport, Uses
from wsis.errors import WsisError, brief
from wsis.evaluation.coco import MAX_DETECTIONS
from wsis.evaluation.guard import annotation_faults, read_tables
from wsis.evaluation.rle import NO_MASK, check_outline, is_number, truth_rle

OUTSIDE = 2.0  # pixels that COCO's own polygons and boxes may stick out of the image
AREA_FACTOR = 2.0  # `area` and the mask's pixels may differ by this; COCO's own differ by a few per cent
MEND = "correct or remove it"
Sizes = dict[int, tuple[int, int]]
Problem = tuple[str, str, str]  # kind, text, advice


@dataclass
class Tally:
    """What is counted over a file's annotations, to be told at its end.

    outside: (annotation id, image id, what) of boxes and polygons that leave their images
    """

    uses: Uses
    unlabelled: bool = False  # images are predicted, and need no object
    annotations: int = 0
    counts: Counter = field(default_factory=Counter)
    objects: Counter = field(default_factory=Counter)  # image id -> objects
    boxes: Counter = field(default_factory=Counter)  # (image, class, box) -> annotations
    outside: list[tuple[int | str, int, str]] = field(default_factory=list)

    def add(self, annotation: dict, sizes: Sizes, scale: float, pixels: int) -> None:
        """Count an annotation; pixels: of its mask, 0 where it has none."""
        self.annotations += 1
        image, box, area = (annotation.get(key) for key in ("image_id", "bbox", "area"))
        self.counts["crowd"] += annotation.get("iscrowd") == 1
        if pixels > 64 and is_number(area) and not 1 / AREA_FACTOR <= area / scale / pixels <= AREA_FACTOR:
            self.counts["area"] += 1
        size = sizes.get(image) if whole(image) else None
        if size is None:
            return
        self.objects[image] += 1
        if is_box(box):
            self.boxes[image, str(annotation.get("category_id")), tuple(box)] += 1
            x, y, w, h = box
            if x < -OUTSIDE or y < -OUTSIDE or x + w > size[1] + OUTSIDE or y + h > size[0] + OUTSIDE:
                self.outside.append((_shown(annotation.get("id")), image, f"bbox {box}"))

    def tell(self, file: Path, sizes: Sizes, report: CheckReport, turned: set[int], evaluated: bool) -> None:
        """Report what was counted. turned: images stored turned, whose boxes may lie in either frame."""
        report.count("annotations", self.annotations)
        for id, image, what in dict.fromkeys(self.outside):
            height, width = sizes[image]
            if image not in turned:
                text = f"{what} leaves the image of {width}x{height}"
                report.problem("mask" if what == "a polygon" else "box", file, text, MEND, id)
        if bare := sorted(set(sizes) - set(self.objects)):
            text = f"{len(bare)} image(s) without annotations, for example {bare[0]}"
            report.note("no annotation", file, text, "handled: left out of training, kept in evaluation")
        if crowd := self.counts["crowd"]:
            if crowd == self.annotations:
                text = f"all {crowd} annotations are crowd regions: there is no object"
                report.problem("crowd", file, text, "give iscrowd 0 where there is one object")
            else:
                advice = "handled: left out of training, ignored by the evaluation as in COCO"
                report.note("crowd", file, f"{crowd} crowd region(s)", advice)
        if different := self.counts["area"]:
            text = f"{different} annotation(s) whose area is more than {AREA_FACTOR:g} times off the mask's"
            advice = "it decides between small, medium and large: check where it comes from"
            report.note("area", file, text, advice)
        if doubled := sum(times - 1 for times in self.boxes.values()):
            text = f"{doubled} annotation(s) repeat the image, class and box of another"
            report.note("doubled", file, text, "remove the copies, unless objects do lie on each other")
        many = [image for image, objects in self.objects.items() if objects > MAX_DETECTIONS]
        if evaluated and many:
            text = f"{len(many)} image(s) with more than {MAX_DETECTIONS} objects, for example {many[0]}"
            advice = (
                f"the evaluation counts {MAX_DETECTIONS} detections an image, so that recall stays below 1"
            )
            report.note("many objects", file, text, advice)
        self._unread(file, report)

    def _unread(self, file: Path, report: CheckReport) -> None:
        """What boxes suffice without."""
        if missing := {key: n for key in ("mask", "area", "iscrowd") if (n := self.counts[f"no {key}"])}:
            text = ", ".join(
                f"{n} of {self.annotations} annotations without {key}" for key, n in missing.items()
            )
            use = "rows that learn masks use those that there are"
            if missing.get("mask") == self.annotations:
                use = "rows that learn masks can't run on it"
            elif "mask" not in missing:
                use = "training reads neither"
            report.note("boxes", file, text, f"boxes suffice for rows that learn from boxes; {use}")
        if broken := self.counts["broken mask"]:
            text = f"{broken} mask(s) that can't be decoded"
            report.note("mask", file, text, "boxes suffice here; rows that learn masks can't run on it")


def evaluation_faults(file: Path, content: dict, sizes: Sizes, report: CheckReport, tally: Tally) -> None:
    """Report everything for which the evaluator refuses the file, and masks and boxes that mislead it."""
    try:
        truth = read_tables(file)
    except WsisError as error:
        report.problem(
            "evaluation", file, str(error).removeprefix(f"{file}: "), "evaluation refuses it: mend it"
        )
        return
    faults = dict(annotation_faults(truth))
    bare = [index for index, text in faults.items() if text == NO_MASK]
    advice = "give each object its mask, or only predict (--predict-only)"
    if bare and len(bare) == len(content["annotations"]):
        text = f"none of its {len(bare)} annotations has a mask, and mask AP needs masks in it"
        report.problem("no mask", file, text, advice)
        for index in bare:
            del faults[index]
    for index, annotation in enumerate(content["annotations"]):
        id = annotation.get("id")
        for problem in _box(annotation.get("bbox")):
            report.problem(problem[0], file, *problem[1:], id=_shown(id))
        pixels = 0
        if index in faults:
            text = f"annotations[{index}]: {faults[index]}"
            report.problem("evaluation", file, text, "evaluation refuses it: mend it", _shown(id))
        elif index not in bare:
            pixels, problems = _mask(annotation, sizes, tally)
            for problem in problems:
                report.problem(problem[0], file, *problem[1:], id=id)
        tally.add(annotation, sizes, truth.area_scale, pixels)


def training_faults(
    file: Path, content: dict, sizes: Sizes, categories: set[int], report: CheckReport, tally: Tally
) -> None:
    """Report what a training can't read; count what boxes suffice without."""
    info = content.get("info")
    scale = info.get("area_scale", 1.0) if isinstance(info, dict) else 1.0
    scale = scale if is_number(scale) and scale > 0 else 1.0
    counted = tally.annotations > 0  # by the evaluation
    seen: set[int] = set()
    for annotation in content["annotations"]:
        id = annotation.get("id")
        problems = [*_ids(annotation, seen, sizes, categories), *_box(annotation.get("bbox"))]
        if whole(id):
            seen.add(id)
        crowd, area = annotation.get("iscrowd"), annotation.get("area")
        tally.counts["no iscrowd"] += crowd is None
        tally.counts["no area"] += not (is_number(area) and area > 0)
        if crowd is not None and (isinstance(crowd, bool) or crowd not in (0, 1)):
            problems.append(
                ("iscrowd", f"iscrowd is {brief(crowd)}", "give 0, or 1 for a region of many objects")
            )
        pixels, wrong = 0, []
        if not annotation.get("segmentation"):
            tally.counts["no mask"] += 1
        else:
            pixels, wrong = _mask(annotation, sizes, tally)
            if wrong and tally.uses.reads_masks is False:
                tally.counts["broken mask"] += 1
                wrong = []
        for kind, text, advice in (*problems, *wrong):
            report.problem(kind, file, text, advice, _shown(id))
        if not counted:
            tally.add(annotation, sizes, scale, pixels)
    count = len(content["annotations"])
    if not count and not tally.unlabelled:
        report.problem("no object", file, "no annotation to train on", "annotate some objects")
    elif tally.uses.reads_masks and tally.counts["no mask"] == count:
        text = "no annotation has a mask: rows that learn masks can't run"
        report.problem("no mask", file, text, "give masks, or train rows that learn from boxes")


def _ids(annotation: dict, seen: set[int], sizes: Sizes, categories: set[int]) -> Iterator[Problem]:
    id, image, category = (annotation.get(key) for key in ("id", "image_id", "category_id"))
    if not whole(id):
        yield "annotation id", f"an annotation has id {brief(id)}", "ids must be whole numbers from 1"
    elif id in seen:
        yield "annotation id", "two annotations have this id", "ids must be unique"
    if not whole(image) or image not in sizes:
        yield "join", f"image_id {brief(image)} is no image of this file", MEND
    if not whole(category) or category not in categories:
        yield "join", f"category_id {brief(category)} is no category of this file", MEND


def _box(box: Any) -> Iterator[Problem]:
    if not is_box(box):
        yield "box", f"bbox {brief(box)} is not four finite numbers", "give [x, y, width, height] in pixels"
    elif box[2] <= 0 or box[3] <= 0:
        yield "box", f"bbox {box} is empty", MEND


def _mask(annotation: dict, sizes: Sizes, tally: Tally) -> tuple[int, list[Problem]]:
    """(pixels of the mask, what is wrong with it); nothing is checked where the image's size is unknown.

    Polygons that leave the image are tallied and not drawn.
    """
    segmentation, image = annotation["segmentation"], annotation.get("image_id")
    size = sizes.get(image) if whole(image) else None
    if size is None:
        return 0, []
    try:
        check_outline(segmentation, size)
    except ValueError as error:
        return 0, [("mask", str(error), MEND)]
    for polygon in segmentation if isinstance(segmentation, list) else ():
        for points, limit in ((polygon[0::2], size[1]), (polygon[1::2], size[0])):
            if min(points) < -OUTSIDE or max(points) > limit + OUTSIDE:
                tally.outside.append((_shown(annotation.get("id")), image, "a polygon"))
                return 0, []
    pixels = int(rle.area(truth_rle(segmentation, size)))
    return pixels, [] if pixels else [("mask", "the mask is empty", MEND)]


def whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(is_number, value))


def _shown(id: Any) -> int | str:
    return id if whole(id) else str(id)
