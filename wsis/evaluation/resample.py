"""COCO AP and mIoU of images that are drawn again: each image counts as often as it was drawn.

Detections are matched once, by pycocotools. What it accumulates of repeated images is computed from counts,
in whole numbers, for many draws at a time: with every image once it is pycocotools' own precision, to the
last bit. Between equal scores images keep their order, and so do detections of one, each with its repeats.

Letters: B draws, I images, T IoU thresholds, R recall levels, K categories, D detections of a category.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from wsis.evaluation.class_agnostic import object_ious
from wsis.evaluation.coco import AT, THRESHOLDS, matched
from wsis.evaluation.guard import Truth, read_predictions, read_truth

CHUNK = 50  # draws computed at a time
NAMES = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class CategoryMatches:
    """The detections of one category, best score first, as pycocotools matched them.

    image:   D int64, position of each one's image
    right:   T arrays of positions in D: those that cover an object
    ignored: T arrays of positions in D: those that count neither way (they cover a crowd region)
    objects: I int64, objects of each image, crowd regions left out
    """

    image: np.ndarray
    right: list[np.ndarray]
    ignored: list[np.ndarray]
    objects: np.ndarray


def category_matches(
    truth: Truth, detections: list[dict[str, Any]], images: Sequence[int]
) -> tuple[list[CategoryMatches], np.ndarray]:
    """The matches of each category in order of their ids, objects of all sizes, and the R recall levels.

    detections: as `read_predictions` returns them; they are changed as by `precision_array`
    """
    run, count = matched(truth, detections, images, ["all"]), len(images)
    firsts = range(0, len(run.evalImgs), count)
    categories = [_category(run.evalImgs[first : first + count]) for first in firsts]
    return categories, np.asarray(run.params.recThrs)


def _category(entries: list[dict[str, Any] | None]) -> CategoryMatches:
    objects = np.array([0 if e is None else np.count_nonzero(e["gtIgnore"] == 0) for e in entries], np.int64)
    there = [(i, e) for i, e in enumerate(entries) if e is not None]
    image = np.array([i for i, e in there for _ in e["dtScores"]], np.int64)
    scores = np.array([score for _, e in there for score in e["dtScores"]], np.float64)
    order = np.argsort(-scores, kind="mergesort")
    none = np.zeros((len(THRESHOLDS), 0), bool)
    found = np.concatenate([none, *(e["dtMatches"] > 0 for _, e in there)], 1)[:, order]
    ignored = np.concatenate([none, *(e["dtIgnore"] > 0 for _, e in there)], 1)[:, order]
    right = [np.flatnonzero(row) for row in found & ~ignored]
    return CategoryMatches(image[order], right, [np.flatnonzero(row) for row in ignored], objects)


def precision(categories: Sequence[CategoryMatches], recalls: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Precision, B x T x R x K float64, -1 where no object was drawn.

    draws: B x I int64, how often each image was drawn
    """
    every = np.full((len(draws), len(THRESHOLDS), len(recalls), len(categories)), -1.0)
    for k, category in enumerate(categories):
        objects = draws @ category.objects
        drawn = objects > 0
        if not drawn.any():
            continue
        counts = draws[drawn][:, category.image]  # B x D
        every[drawn, ..., k] = _precision(category, counts, objects[drawn], recalls)
    return every


def _precision(
    category: CategoryMatches, counts: np.ndarray, objects: np.ndarray, recalls: np.ndarray
) -> np.ndarray:
    """Of one category: B x T x R. Only where a detection is right can the curve's envelope have a step."""
    seen = counts.cumsum(1)
    least = _least(recalls, objects)  # B x R
    rows = np.arange(len(counts))[:, None] * (objects.max() + 1)  # numbers of different draws don't overlap
    result = np.zeros((len(counts), len(category.right), len(recalls)))
    for t, (right, ignored) in enumerate(zip(category.right, category.ignored, strict=True)):
        if not len(right):
            continue
        hits = counts[:, right].cumsum(1)
        passed = seen[:, right]
        if len(ignored):
            void = np.concatenate([np.zeros((len(counts), 1), np.int64), counts[:, ignored].cumsum(1)], 1)
            passed = passed - void[:, np.searchsorted(ignored, right)]
        curve = hits / (passed + np.spacing(1))
        envelope = np.maximum.accumulate(curve[:, ::-1], 1)[:, ::-1]
        place = np.searchsorted((hits + rows).ravel(), least + rows)
        reached = least <= hits[:, -1:]
        result[:, t] = np.where(reached, envelope.ravel()[np.where(reached, place, 0)], 0.0)
    return result


def _least(recalls: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """The smallest number of right detections that reaches each recall, as floats compare: B x R int64."""
    objects = objects[:, None]
    least = np.ceil(recalls * objects)
    least -= (least - 1) / objects >= recalls
    least += least / objects < recalls
    return least.astype(np.int64)


@dataclass(frozen=True)
class Averages:
    """AP, AP50, AP75 of a run's detections, by draws of the images."""

    categories: list[CategoryMatches]
    recalls: np.ndarray

    names = NAMES

    def of(self, draws: np.ndarray) -> np.ndarray:
        """B x I draws -> B x 3 per cent; nan where no object was drawn."""
        parts = [self._of(draws[first : first + CHUNK]) for first in range(0, len(draws), CHUNK)]
        return np.concatenate(parts)

    def _of(self, draws: np.ndarray) -> np.ndarray:
        values = precision(self.categories, self.recalls, draws)
        return np.array([[_mean(one[1:]), _mean(one[AT["AP50"]]), _mean(one[AT["AP75"]])] for one in values])


def _mean(values: np.ndarray) -> float:
    defined = values[values > -1]
    return 100.0 * float(defined.mean()) if defined.size else np.nan


def averages(predictions: Path, annotations: Path, images: Sequence[int]) -> Averages:
    """Of COCO results; images: ids of those that are evaluated, in order. Raises GuardError as `evaluate`."""
    truth = read_truth(annotations)
    return Averages(*category_matches(truth, read_predictions(predictions, truth, images), images))


@dataclass(frozen=True)
class Overlaps:
    """mIoU of masks of given boxes, by draws of the images: sums and counts are I x K, of objects' IoUs."""

    sums: np.ndarray
    counts: np.ndarray

    names = ("mIoU",)

    def of(self, draws: np.ndarray) -> np.ndarray:
        """B x I draws -> B x 1 per cent; nan where no object was drawn."""
        counts = draws @ self.counts
        with np.errstate(invalid="ignore"):
            means = (draws @ self.sums) / counts
        there = counts > 0
        total = np.where(there, means, 0.0).sum(1)
        with np.errstate(invalid="ignore"):
            return 100.0 * (total / there.sum(1))[:, None]


def overlaps(predictions: Path, annotations: Path, images: Sequence[int]) -> Overlaps:
    """Of masks of given boxes, COCO results with `annotation_id`; as `averages`."""
    truth = read_truth(annotations)
    objects, ious = object_ious(predictions, truth, images)
    rows = {image: row for row, image in enumerate(images)}
    columns = {category: column for column, category in enumerate(truth.categories)}
    place = [rows[each["image_id"]] for each in objects], [columns[each["category_id"]] for each in objects]
    sums, counts = np.zeros((len(rows), len(columns))), np.zeros((len(rows), len(columns)), np.int64)
    np.add.at(sums, place, ious)
    np.add.at(counts, place, 1)
    return Overlaps(sums, counts)
