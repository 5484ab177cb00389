"""Recognise the layouts that labelling tools write, and say how to make a COCO root of them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

COCO = "<split>/ with the images and annotations/instances_<split>.json, splits train2017 and val2017"
BY_SUPERVISION = (
    "`pip install supervision`, then in Python DetectionDataset.{reader} and .as_coco(images_directory_path="
    "'ROOT/train2017', annotations_path='ROOT/annotations/instances_train2017.json'), the same for val2017"
)


def other_layout(root: Path) -> tuple[str, str, str]:
    """(name, what it is, what to do) of a root that is none of ours; "unknown" if nothing is recognised."""
    if hidden := _first(root, "_annotations.coco.json"):
        text = f"is a COCO export with a file beside the images of each split ({hidden})"
        return "coco export", text, f"rename its parts: a COCO root has {COCO}"
    if file := _first(root, "data.yaml", "dataset.yaml", "labels/*/*.txt", "labels/*.txt", "*/labels/*.txt"):
        reader = "from_yolo('IMAGES', 'LABELS', 'data.yaml')"
        return "yolo", f"is a YOLO data set ({file})", f"convert it: {BY_SUPERVISION.format(reader=reader)}"
    if file := _first(root, "annotations.xml", "*/annotations.xml"):
        advice = f"export the task again as 'COCO 1.0', then name its parts: a COCO root has {COCO}"
        return "cvat", f"is an export of CVAT's own format ({file})", advice
    if (root / "Annotations").is_dir() and _first(root, "Annotations/*.xml"):
        reader = "from_pascal_voc('JPEGImages', 'Annotations')"
        text = "is a VOC detection set: boxes in Annotations/, no ImageSets/Segmentation/"
        advice = f"list names in ImageSets/Segmentation/train.txt and val.txt, or {BY_SUPERVISION}"
        return "voc boxes", text, advice.format(reader=reader)
    if file := _labelme(root):
        reader, text = (
            "from_labelme('IMAGES', 'JSONS')",
            f"is a LabelMe folder: a JSON beside each image ({file})",
        )
        return "labelme", text, f"convert it: {BY_SUPERVISION.format(reader=reader)}"
    if file := _first(root, "annotations/*.json", "*.json"):
        text = f"holds no annotations/instances_<split>.json, but {file}"
        return "unknown", text, f"a COCO root has {COCO}"
    text = "is not a data root: it has neither annotations/ (COCO), ImageSets/ (VOC) nor masks/ (saliency)"
    return "unknown", text, "give the folder that holds them"


def _first(root: Path, *patterns: str) -> str | None:
    """The first file, relative to the root, that matches a pattern; in the root or, for names, one below."""
    for pattern in patterns:
        for where in (pattern, f"*/{pattern}") if "/" not in pattern else (pattern,):
            if match := next(iter(root.glob(where)), None):
                return str(match.relative_to(root))
    return None


def _labelme(root: Path) -> str | None:
    """A JSON file, among the first few of a folder, with LabelMe's keys."""
    for path in islice(root.glob("**/*.json"), 3):
        with path.open("rb") as file:
            head = file.read(1 << 20)
        if b'"shapes"' in head and b'"imagePath"' in head:
            return str(path.relative_to(root))
    return None
