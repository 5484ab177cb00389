"""Check a root of COCO's layout: every annotations/instances_<split>.json and the images it lists."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsis.data.check.annotations import MEND, Tally, evaluation_faults, training_faults, whole
from wsis.data.check.images import Images
from wsis.data.check.report import CheckReport, Uses, official_count
from wsis.data.official_sizes import OFFICIAL
from wsis.data.pixels import inside, is_below
from wsis.data.splits import coco_file, joint_categories, layout
from wsis.errors import WsisError, brief
from wsis.files import read_json

LONGEST = 30000  # pixels a side that pycocotools' run lengths can hold


@dataclass
class Split:
    """An annotation file. sizes: image id -> (h, w) of the usable entries; turned: ids stored turned."""

    file: Path
    content: dict[str, Any]
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    categories: set[int] = field(default_factory=set)
    turned: set[int] = field(default_factory=set)


def check_coco(root: Path, report: CheckReport, images: Images, uses: Uses) -> None:
    """Add what is wrong with the root to the report: of what is evaluated on first."""
    names = [file.stem.removeprefix("instances_") for file in (root / "annotations").glob("instances_*.json")]
    wanted = [split for split in sorted(names) if uses.evaluated(split) or uses.trained(split)]
    for name in uses.missing(names):
        report.problem("split", coco_file(root, name), "missing", layout("coco", name))
    if not any(map(uses.evaluated, names)):
        text, advice = "no split to evaluate on", "its name begins with val, or say --eval SPLIT"
        report.note("split", root / "annotations", text, advice)
    readable = []
    for name in sorted(wanted, key=lambda split: not uses.evaluated(split)):
        file, folder = root / "annotations" / f"instances_{name}.json", root / name
        content = _read(file, report)
        if content is None:
            continue
        readable.append(file)
        split = Split(file, content)
        if not folder.is_dir() and content["images"]:
            text = f"missing, but {file.name} lists its images"
            report.problem("folder", folder, text, "put the images there")
            folder = None
        _images(split, folder, report, images)
        _categories(split, report)
        tally, evaluated = Tally(uses), uses.evaluated(name)
        if evaluated and not uses.predict_only:
            evaluation_faults(file, content, split.sizes, report, tally)
        elif evaluated and not uses.trained(name):
            tally = Tally(Uses(supervisions=frozenset({"boxes"})), unlabelled=True)
            training_faults(file, content, split.sizes, split.categories, report, tally)
            advice = "nothing to do where only predictions are wanted"
            report.note("predict only", file, "nothing is evaluated on it: AP can't be measured", advice)
        if uses.trained(name):
            training_faults(file, content, split.sizes, split.categories, report, tally)
        tally.tell(file, split.sizes, report, split.turned, evaluated)
        official_count(report, file, len(split.sizes), OFFICIAL["coco"].get(name))
    try:
        joint_categories(readable)
    except WsisError as error:
        where, _, text = str(error).partition(": ")
        report.problem("classes", where, *text.split("; ") if "; " in text else (text, MEND))
    _unseen_classes(root, wanted, readable, report, uses)


def _unseen_classes(
    root: Path, wanted: list[str], readable: list[Path], report: CheckReport, uses: Uses
) -> None:
    """Note classes that are in one file and not in the other."""
    try:
        parts = [
            {id: (name, file) for file in files for id, name in joint_categories([file]).items()}
            for files in (
                [coco_file(root, split) for split in wanted if uses.trained(split)],
                [coco_file(root, split) for split in wanted if uses.evaluated(split)],
            )
            if set(files) <= set(readable)
        ]
    except WsisError:
        return
    if len(parts) < 2 or not all(parts):
        return
    for some, others, kind in ((parts[0], parts[1], "evaluation"), (parts[1], parts[0], "training")):
        if missing := sorted(set(some) - set(others)):
            id, (name, file) = missing[0], some[missing[0]]
            text = f"{len(missing)} class(es) that the {kind} files lack, for example {id} ('{name}')"
            report.note("classes", file, text, "handled: classes of both files are told apart")


def _read(file: Path, report: CheckReport) -> dict[str, Any] | None:
    try:
        content = read_json(file)
    except WsisError as error:
        text = str(error).removeprefix(f"{file}: ")
        report.problem("json", file, text, "it may be cut short: fetch it again")
        return None
    for key in ("images", "annotations", "categories"):
        part = content.get(key) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(entry, dict) for entry in part):
            text = f"has no list '{key}' of objects"
            report.problem("json", file, text, "it must be a COCO instances file")
            return None
    return content


def _images(split: Split, folder: Path | None, report: CheckReport, images: Images) -> None:
    """Fill `sizes` and `turned`; files are looked at where the folder exists."""
    file, wanted, seen = split.file, [], Counter()
    for entry in split.content["images"]:
        id = entry.get("id")
        if not whole(id):
            report.problem(
                "image id", file, f"an image has id {brief(id)}", "ids must be whole numbers", str(id)
            )
            continue
        if id in split.sizes:
            report.problem("image id", file, "two images have this id", MEND, id)
            continue
        name, height, width = entry.get("file_name"), entry.get("height"), entry.get("width")
        if not all(whole(side) and 0 < side <= LONGEST for side in (height, width)):
            report.problem(
                "image", file, f"height {brief(height)} and width {brief(width)} are not sizes", MEND, id
            )
            continue
        split.sizes[id] = (height, width)
        if not is_below(name):
            text = f"file_name {brief(name)} is not a file below the split's folder"
            report.problem("image", file, text, MEND, id)
        elif folder is not None:
            seen[name] += 1
            try:
                wanted.append((inside(folder, name), id, (height, width)))
            except WsisError as error:
                report.problem("image", file, str(error), MEND, id)
    split.turned = images.check(wanted)
    if doubled := [name for name, times in seen.items() if times > 1]:
        text = f"{len(doubled)} file(s) are listed under several ids, for example {doubled[0]}"
        report.note("doubled image", file, text, "they count twice: remove one entry and join its objects")


def _categories(split: Split, report: CheckReport) -> None:
    for entry in split.content["categories"]:
        id = entry.get("id")
        if not whole(id) or not isinstance(entry.get("name"), str):
            text = f"category {brief(entry)} lacks a whole id or a name"
            report.problem("category", split.file, text, MEND, str(id))
        elif id in split.categories:
            report.problem("category", split.file, "two categories have this id", MEND, id)
        else:
            split.categories.add(id)
