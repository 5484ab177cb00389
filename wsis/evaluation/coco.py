"""COCO instance segmentation AP with pycocotools, the number that is reported.

Letters: T IoU thresholds, R 101 recall levels, K categories, A size ranges, M limits of detections an image.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from wsis.errors import WsisError
from wsis.evaluation.guard import Truth, read_predictions, read_truth

MAX_DETECTIONS = 100  # an image and category, best scores first
STANDARD = np.linspace(0.5, 0.95, 10)  # COCO's own IoU thresholds, computed as COCO computes them
THRESHOLDS = np.concatenate([[0.25], STANDARD])
# Thresholds are found by position: 0.5 + 8 * 0.05 is not 0.9 in floating point.
AT = {"AP25": 0, "AP50": 1, "AP70": 5, "AP75": 6}
RANGES = {"all": 0, "small": 1, "medium": 2, "large": 3}  # areas up to 32^2, up to 96^2, above


def evaluate(
    predictions: Path,
    annotations: Path,
    recipe_id: str | None,
    unseen: Sequence[int] = (),
    image_ids: Collection[int] | None = None,
    groups: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, Any]:
    """The content of metrics.json for COCO-style results.

    predictions: COCO instance results; `bbox` is not looked at
    annotations: COCO ground truth; its `info.area_scale` (default 1) scales the detections' areas as well
    unseen:      ids of the categories that had no masks in training (BoxInst, Sec. 3.6)
    image_ids:   evaluate on these images only; predictions elsewhere are an error
    groups:      name -> category ids; the result's `groups` holds AP, AP50, AP75 over each, because one run
                 can serve tables whose unseen classes differ

    Metrics, in per cent, None where there is no ground truth: AP, AP25, AP50, AP70, AP75, APS, APM, APL,
    AP_unseen, AP50_unseen, AP75_unseen. AP is over the ten standard thresholds. `per_class` is AP by name.
    Raises GuardError (a WsisError) for files that must not be evaluated.
    """
    truth = read_truth(annotations)
    images = truth.chosen(image_ids)
    detections = read_predictions(predictions, truth, images)
    chosen = {name: _positions(truth, ids) for name, ids in (groups or {}).items()}
    unseen_positions = _positions(truth, unseen)
    precision = precision_array(truth, detections, images)
    return {
        "recipe": recipe_id,
        "protocol": "coco",
        "evaluator": {"name": "pycocotools", "version": importlib.metadata.version("pycocotools")},
        "metrics": _metrics(precision, unseen_positions),
        "groups": {name: _over(precision, positions) for name, positions in chosen.items()},
        "per_class": {
            name: _mean(precision[1:, :, k, 0]) for k, name in enumerate(truth.categories.values())
        },
        "images": len(images),
        "detections": len(detections),
    }


def precision_array(truth: Truth, detections: list[dict[str, Any]], images: Sequence[int]) -> np.ndarray:
    """Precision, T x R x K x A float64, -1 where there is no ground truth; K in order of category ids.

    detections: as `read_predictions` returns them; an empty list gives zeros.
    They are changed as by `matched`.
    """
    run = matched(truth, detections, images)
    with contextlib.redirect_stdout(io.StringIO()):
        run.accumulate()
    return run.eval["precision"][..., 0]


def matched(
    truth: Truth,
    detections: list[dict[str, Any]],
    images: Sequence[int],
    sizes: Sequence[str] = tuple(RANGES),
) -> COCOeval:
    """pycocotools' evaluation of each image, not accumulated yet; sizes: names of the ranges of areas.

    The entries of `truth.dataset` and `detections` are changed: pycocotools marks them (the
    truth's always alike, so that it can serve again).
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        reference, results = COCO(), COCO()
        reference.dataset = truth.dataset
        for number, detection in enumerate(detections, start=1):
            detection.update(id=number, iscrowd=0)
        results.dataset = {key: truth.dataset[key] for key in ("images", "categories")}
        results.dataset["annotations"] = detections
        reference.createIndex()
        results.createIndex()
        run = COCOeval(reference, results, "segm")
        run.params.imgIds = list(images)
        run.params.catIds = list(truth.categories)
        run.params.iouThrs = THRESHOLDS
        run.params.maxDets = [MAX_DETECTIONS]
        run.params.areaRng = [run.params.areaRng[RANGES[name]] for name in sizes]
        run.params.areaRngLbl = list(sizes)
        run.evaluate()
    return run


def _positions(truth: Truth, unseen: Sequence[int]) -> list[int]:
    positions = {category: k for k, category in enumerate(truth.categories)}
    if unknown := [category for category in unseen if category not in positions]:
        raise WsisError(f"{truth.path}: no category {unknown[0]}, which a class group names")
    return [positions[category] for category in unseen]


def _metrics(precision: np.ndarray, unseen: list[int]) -> dict[str, float | None]:
    every = precision[..., RANGES["all"]]
    metrics = {"AP": _mean(every[1:])}
    metrics |= {name: _mean(every[t]) for name, t in AT.items()}
    for name, size in (("APS", "small"), ("APM", "medium"), ("APL", "large")):
        metrics[name] = _mean(precision[1:, ..., RANGES[size]])
    metrics |= {f"{name}_unseen": value for name, value in _over(precision, unseen).items()}
    return metrics


def _over(precision: np.ndarray, positions: list[int]) -> dict[str, float | None]:
    """AP, AP50, AP75 over the categories at these positions, objects of all sizes."""
    some = precision[:, :, positions, RANGES["all"]]
    return {"AP": _mean(some[1:]), "AP50": _mean(some[AT["AP50"]]), "AP75": _mean(some[AT["AP75"]])}


def _mean(precision: np.ndarray) -> float | None:
    """Mean in per cent over what has ground truth."""
    defined = precision[precision > -1]
    return 100.0 * float(defined.mean()) if defined.size else None
