"""Instance AP as the PASCAL VOC literature reports it: a protocol beside COCO's, never mixed with it.

The scheme of BBTP, which BoxCaseg follows (Sec. 4): a class at a time, detections in the order of their
scores take the best ground truth of their image that is not covered yet and count as right where the IoU is
strictly above the threshold; AP is the area under the precision-recall curve made monotone, all points of
it, averaged over the classes that have ground truth. Nothing is ignored: 'difficult' objects count, and void
pixels (255) are background. COCO's AP instead samples 101 recalls, matches from the threshold on, and takes
100 detections an image.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as masks

from wsis import __version__
from wsis.evaluation.guard import read_predictions, read_truth
from wsis.evaluation.rle import truth_rle

THRESHOLDS = {"AP25": 0.25, "AP50": 0.5, "AP70": 0.7, "AP75": 0.75}


def evaluate_voc(
    predictions: Path, annotations: Path, recipe_id: str | None, image_ids: Collection[int] | None = None
) -> dict[str, Any]:
    """The content of metrics.json under the VOC protocol; the files are COCO results and ground truth.

    Metrics in per cent, None where no class has ground truth: AP25, AP50, AP70, AP75. `per_class` is AP50
    by name. Crowd regions, which VOC does not have, are background like void.
    Raises GuardError (a WsisError) for files that must not be evaluated.
    """
    truth = read_truth(annotations)
    images = truth.chosen(image_ids)
    detections = read_predictions(predictions, truth, images)
    wanted = set(images)
    targets = defaultdict(list)
    for entry in truth.annotations:
        if entry["image_id"] in wanted and not entry["iscrowd"]:
            rle = truth_rle(entry["segmentation"], truth.sizes[entry["image_id"]])
            targets[entry["category_id"], entry["image_id"]].append(rle)
    predicted = defaultdict(list)
    for entry in detections:
        predicted[entry["category_id"], entry["image_id"]].append(entry)

    by_class = {category: class_aps(category, images, targets, predicted) for category in truth.categories}
    defined = [aps for aps in by_class.values() if aps is not None]
    metrics = dict.fromkeys(THRESHOLDS)
    if defined:
        metrics = {name: 100.0 * float(np.mean([aps[name] for aps in defined])) for name in THRESHOLDS}
    return {
        "recipe": recipe_id,
        "protocol": "voc",
        "evaluator": {"name": "wsis", "version": __version__},
        "metrics": metrics,
        "per_class": {
            name: None if by_class[category] is None else 100.0 * by_class[category]["AP50"]
            for category, name in truth.categories.items()
        },
        "images": len(images),
        "detections": len(detections),
    }


def class_aps(
    category: int, images: Sequence[int], targets: dict, predicted: dict
) -> dict[str, float] | None:
    """AP (0 to 1) of one class by metric name; None where the class has no ground truth.

    targets:   (category, image) -> RLEs of the objects
    predicted: (category, image) -> entries with a score and a segmentation, best first
    Both are `defaultdict(list)`: a missing key is an empty list.
    """
    objects = sum(len(targets[category, image]) for image in images)
    if objects == 0:
        return None
    scores: list[float] = []
    right: dict[str, list[bool]] = {name: [] for name in THRESHOLDS}
    for image in images:
        entries, there = predicted[category, image], targets[category, image]
        scores += [entry["score"] for entry in entries]
        if not entries:
            continue
        overlaps = np.zeros((len(entries), 0))
        if there:
            overlaps = masks.iou([entry["segmentation"] for entry in entries], there, [0] * len(there))
        for name, threshold in THRESHOLDS.items():
            right[name] += cover(overlaps, threshold)
    order = np.argsort(-np.array(scores), kind="stable")
    return {
        name: area_under_curve(np.array(hits, dtype=bool)[order], objects) for name, hits in right.items()
    }


def cover(overlaps: np.ndarray, threshold: float) -> list[bool]:
    """Which detections are right, given D x G IoUs with the detections in the order of their scores."""
    free = np.ones(overlaps.shape[1], dtype=bool)
    right = []
    for row in overlaps:
        candidates = np.where(free, row, -1.0)
        best = int(candidates.argmax()) if candidates.size else -1
        hit = best >= 0 and candidates[best] > threshold
        if hit:
            free[best] = False
        right.append(bool(hit))
    return right


def area_under_curve(right: np.ndarray, objects: int) -> float:
    """Area under the monotone precision-recall curve.

    right:   D bool, best score first
    objects: number of ground truths, at least 1
    """
    precision = np.cumsum(right) / np.arange(1, right.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # best precision at this recall or above
    return float(envelope[right].sum()) / objects  # recall rises by 1 / objects at each right detection
