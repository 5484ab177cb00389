"""How good pseudo masks are: probability maps and thresholded labels against ground truth, inside the box.

A measure of this project, not of a paper. Counts are accumulated image by image in bounded memory; how images
are grouped does not matter. numpy only.

Shapes: G objects of some images, P cells: those in an object's box, for all objects, one after another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

SUBSETS = ("all", "overlap")
THRESHOLDS = np.arange(101) / 100  # scanned for the best; 0.5 is one of them
OVERLAP = 0.1  # IoU of two boxes of a class above which both objects are overlapping

# Bins of the ROC curve are even in log odds: a temperature, which stretches log odds, then neither merges
# nor splits values (even bins of probabilities would tie those that a low temperature saturates).
PER_LOGIT = 2048
LIMIT = 12  # beyond these log odds values are ties
BINS = 2 * LIMIT * PER_LOGIT + 1


@dataclass
class Cells:
    """Ground truth of the cells in G boxes.

    truth: P bool, on the object's mask; owner: P int, the object that a cell is in the box of;
    overlap: G bool, whether the box overlaps another of its class (`overlapping`)
    """

    truth: np.ndarray
    owner: np.ndarray
    overlap: np.ndarray

    @property
    def visible(self) -> np.ndarray:
        """Objects with a cell on their mask, G bool; the others can't be scored."""
        return np.bincount(self.owner[self.truth], minlength=len(self.overlap)) > 0


def overlapping(boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which boxes of one image overlap another of the same class by IoU > 0.1: N x 4 xyxy, N -> N bool."""
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    inter = (high - low).clip(min=0).prod(2)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = area[:, None] + area[None] - inter
    other = (labels[:, None] == labels[None]) & ~np.eye(len(labels), dtype=bool)
    return (other & (inter > OVERLAP * union)).any(1)


@dataclass
class MapScores:
    """Accumulates how well a probability map tells an object's cells from the others in its box."""

    # First axis: objects that overlap none of their class, and those that do.
    objects: np.ndarray = field(default_factory=lambda: np.zeros(2, np.int64))
    ious: np.ndarray = field(default_factory=lambda: np.zeros((2, len(THRESHOLDS))))  # sums over objects
    histogram: np.ndarray = field(default_factory=lambda: np.zeros((2, 2, BINS), np.int64))  # by truth

    def add(self, values: np.ndarray, cells: Cells, scored: np.ndarray | None = None) -> None:
        """Count a map's values at `cells`, P float32 in [0, 1]; only of the objects `scored`, G bool."""
        values = values.astype(np.float32).clip(0, 1)  # sums of weights round
        chosen = cells.visible if scored is None else cells.visible & scored
        keep = chosen[cells.owner]
        values, truth, owner = values[keep], cells.truth[keep], cells.owner[keep]
        overlap = cells.overlap.astype(np.int64)
        self.objects += np.bincount(overlap[chosen], minlength=2)
        bins = (overlap[owner] * 2 + truth) * BINS + _log_odds_bin(values)
        self.histogram += np.bincount(bins, minlength=4 * BINS).reshape(2, 2, BINS)
        ious = _ious(values, truth, owner, len(overlap))
        for kind in (0, 1):
            self.ious[kind] += ious[chosen & (overlap == kind)].sum(0)

    def result(self) -> dict[str, dict[str, Any]]:
        """Of all objects and of the overlapping: how many, and per cent; None where nothing can be scored.

        IoU   mean over objects of the IoU of [value > 0.5] with the mask, both inside the box
        best  the same at the one threshold for all objects, of 101, at which it is largest
        AUC   area under the ROC curve of all cells pooled, ties counted half
        """
        return {name: self._scores(part) for name, part in _parts().items()}

    def _scores(self, part: slice) -> dict[str, Any]:
        count = int(self.objects[part].sum())
        if count == 0:
            return {"objects": 0, "IoU": None, "best": None, "AUC": None}
        means = 100 * self.ious[part].sum(0) / count
        negative, positive = self.histogram[part].sum(0)
        half = len(THRESHOLDS) // 2
        return {
            "objects": count,
            "IoU": float(means[half]),
            "best": float(means.max()),
            "AUC": _auc(positive, negative),
        }


@dataclass
class LabelScores:
    """Accumulates how much of the boxes a pseudo label covers, and how often it is right."""

    counts: np.ndarray = field(default_factory=lambda: np.zeros((2, 3), np.int64))  # cells, labelled, right

    def add(
        self, target: np.ndarray, weight: np.ndarray, cells: Cells, scored: np.ndarray | None = None
    ) -> None:
        """Count labels at `cells`: target P bool, foreground; weight P bool, where there is a label."""
        chosen = cells.visible if scored is None else cells.visible & scored
        keep = chosen[cells.owner]
        overlap = cells.overlap[cells.owner]
        labelled = keep & weight
        for column, counted in enumerate((keep, labelled, labelled & (target == cells.truth))):
            self.counts[:, column] += np.bincount(overlap[counted], minlength=2)

    def result(self) -> dict[str, dict[str, float | None]]:
        """cover: share of the boxes' cells that is labelled; acc: share of those that is right; per cent."""
        shares = {}
        for name, part in _parts().items():
            cells, labelled, right = self.counts[part].sum(0).tolist()
            shares[name] = {"cover": _per_cent(labelled, cells), "acc": _per_cent(right, labelled)}
        return shares


def _parts() -> dict[str, slice]:
    return dict(zip(SUBSETS, (slice(0, 2), slice(1, 2)), strict=True))


def _log_odds_bin(values: np.ndarray) -> np.ndarray:
    """P float32 -> P int64 in [0, BINS)."""
    exact = values.astype(np.float64)
    with np.errstate(divide="ignore"):
        odds = np.log(exact) - np.log1p(-exact)
    return np.rint((odds.clip(-LIMIT, LIMIT) + LIMIT) * PER_LOGIT).astype(np.int64)


def _ious(values: np.ndarray, truth: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """IoU of [value > t] with the mask for every object and threshold: count x 101.

    A value is above threshold i / 100 exactly when ceil(100 value) > i.
    """
    steps = len(THRESHOLDS) - 1
    level = np.ceil(values.astype(np.float64) * steps).astype(np.int64)
    bins = (owner * 2 + truth) * (steps + 1) + level
    histogram = np.bincount(bins, minlength=count * 2 * (steps + 1)).reshape(count, 2, steps + 1)
    above = histogram[:, :, ::-1].cumsum(2)[:, :, ::-1]  # levels >= i
    above = np.concatenate([above[:, :, 1:], np.zeros((count, 2, 1), above.dtype)], 2)  # levels > i
    false, true = above[:, 0], above[:, 1]
    return true / np.maximum(histogram[:, 1].sum(1, keepdims=True) + false, 1)


def _auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Per cent of (positive, negative) pairs in order, ties half, from counts in ascending bins."""
    pairs = float(positive.sum()) * float(negative.sum())
    if pairs == 0:
        return None
    below = negative.cumsum() - negative
    return float(100 * (positive * (below + negative / 2)).sum() / pairs)


def _per_cent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None
