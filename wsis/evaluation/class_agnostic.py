"""Quality of masks made for known boxes: one predicted mask for each ground-truth object (BoxCaseg, Sec. 4).

mIoU*: mean over classes of the class's mean IoU. IoU@k: share of all objects whose IoU is larger than k per
cent (the paper); the released code counts an IoU of exactly k as well (`overlap_metrics(strict=False)`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as masks

from wsis import __version__
from wsis.evaluation.guard import GuardError, Truth, read_predictions, read_truth
from wsis.evaluation.rle import truth_rle


def evaluate_class_agnostic(
    predictions: Path, annotations: Path, recipe_id: str | None, image_ids: Collection[int] | None = None
) -> dict[str, Any]:
    """The content of metrics.json for masks of ground-truth boxes.

    predictions: COCO results, each with `annotation_id`, the object that it is the mask of; exactly one for
                 each object of the evaluated images; crowd regions need none, and theirs are left out.
                 Scores play no part.

    Metrics in per cent, None where there is no object: mIoU, IoU50, IoU75. `per_class` is mean IoU by name.
    Raises GuardError (a WsisError) when an object has no mask or two, or a mask no object.
    """
    truth = read_truth(annotations)
    images = truth.chosen(image_ids)
    objects, ious = object_ious(predictions, truth, images)
    labels = [entry["category_id"] for entry in objects]
    means = class_means(ious, labels)
    return {
        "recipe": recipe_id,
        "protocol": "class-agnostic",
        "evaluator": {"name": "wsis", "version": __version__},
        "metrics": overlap_metrics(ious, labels),
        "per_class": {
            name: 100.0 * means[category] if category in means else None
            for category, name in truth.categories.items()
        },
        "images": len(images),
        "detections": len(objects),
    }


def object_ious(
    predictions: Path, truth: Truth, images: Sequence[int]
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The annotated objects of `images`, and the IoU of each with the mask made for it (N float64).

    Raises GuardError as `evaluate_class_agnostic`.
    """
    wanted = set(images)
    objects = {entry["id"]: entry for entry in truth.annotations if entry["image_id"] in wanted}
    predicted: dict[int, dict[str, Any]] = {}
    for entry in read_predictions(predictions, truth, images):
        number = entry.get("annotation_id")
        where = f"{predictions}: mask with annotation_id {number} on image {entry['image_id']}"
        target = objects.get(number)
        if target is None:
            raise GuardError(f"{where}: no such object; each mask must name the object it is made for")
        if (target["image_id"], target["category_id"]) != (entry["image_id"], entry["category_id"]):
            raise GuardError(f"{where}: that object has another image or category")
        if number in predicted:
            raise GuardError(f"{where}: this object has a mask already")
        predicted[number] = entry
    objects = {number: entry for number, entry in objects.items() if not entry["iscrowd"]}
    if missing := sorted(set(objects) - set(predicted)):
        raise GuardError(f"{predictions}: no mask for {len(missing)} objects, the first with id {missing[0]}")

    outlines = [truth_rle(e["segmentation"], truth.sizes[e["image_id"]]) for e in objects.values()]
    ious = paired_ious([predicted[number]["segmentation"] for number in objects], outlines)
    return list(objects.values()), ious


def paired_ious(predicted: Sequence[dict], truth: Sequence[dict]) -> np.ndarray:
    """IoU (N float64) of the n-th predicted and n-th true mask, compressed RLE; 0 where both are empty."""
    pairs = zip(predicted, truth, strict=True)
    return np.array([masks.iou([one], [other], [0])[0, 0] for one, other in pairs], dtype=np.float64)


def overlap_metrics(ious: np.ndarray, labels: Sequence[int], strict: bool = True) -> dict[str, float | None]:
    """mIoU (over the classes present), IoU50, IoU75 in per cent of N IoUs and their N classes."""
    if len(ious) == 0:
        return dict.fromkeys(("mIoU", "IoU50", "IoU75"))
    above = np.greater if strict else np.greater_equal
    return {
        "mIoU": 100.0 * float(np.mean(list(class_means(ious, labels).values()))),
        "IoU50": 100.0 * float(above(ious, 0.5).mean()),
        "IoU75": 100.0 * float(above(ious, 0.75).mean()),
    }


def class_means(ious: np.ndarray, labels: Sequence[int]) -> dict[int, float]:
    """Mean IoU (0 to 1) of each class that occurs in `labels`."""
    labels = np.asarray(labels)
    return {int(label): float(np.asarray(ious)[labels == label].mean()) for label in np.unique(labels)}
