"""How a boundary map answers where nothing was labelled: contacts of one class, interiors, texture edges.

A measure of this project, not of BAISeg's paper. The paper claims that a network trained on contours between
classes also finds the borders between touching objects of one class, pixels that it was taught are none (Sec.
3.1). So: is its response higher on those lines than inside objects, and than on edges inside objects that are
no border of any? Counts are accumulated image by image in bounded memory. numpy and OpenCV only.

Shapes: h x w pixels of an image, N objects, P predictions, n pairs of objects in contact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as masks

from wsis.data.voc import VOID
from wsis.errors import WsisError

GROUPS = ("contour", "contact", "texture", "interior")
REACH = 3  # pixels in any of eight directions: within them groups would disturb each other
LEAST_IOU = 0.5  # IoU above which a prediction finds its object
# Bins of the ROC curve: the upper 20 bits of a float32, 2048 a power of two. Weak responses are as well told
# apart as strong ones; two within 0.05 % of each other are ties.
_DROPPED = 12
_BINS = int(np.float32(1).view(np.uint32) >> _DROPPED) + 1


@dataclass(frozen=True)
class PixelGroups:
    """Pixels of one image by what is there, h x w bool each; no pixel within REACH of void is in any.

    contour   one of the four neighbours has another class: the lines that are labelled
    contact   one of them belongs to another object of the same class, and no contour is within REACH
    texture   an edge inside an object, with neither contour nor contact within REACH
    interior  an object's, with neither contour, contact nor texture edge within REACH
    pairs     n x 2 positions of objects of one class with neighbouring pixels, anywhere, i < j
    """

    contour: np.ndarray
    contact: np.ndarray
    texture: np.ndarray
    interior: np.ndarray
    pairs: np.ndarray


def instance_map(rles: Sequence[dict], size: tuple[int, int]) -> np.ndarray:
    """N masks of one image of h x w -> h x w int32, 0 where there is none, else position + 1.

    rles: compressed RLEs. Where masks overlap, the smaller one lies in front.
    """
    positions = np.zeros(size, np.int32)
    areas = masks.area(list(rles)) if len(rles) else ()
    for place in sorted(range(len(rles)), key=lambda place: (-int(areas[place]), place)):
        positions[masks.decode(rles[place]) > 0] = place + 1
    return positions


def pixel_groups(
    instances: np.ndarray, labels: np.ndarray, semantic: np.ndarray, texture: np.ndarray | None = None
) -> PixelGroups:
    """The groups of one image.

    instances: h x w int, 0 none, else the object's position + 1 (`instance_map`); labels: N int, the class of
    each; semantic: h x w uint8, true: 0 background, else label + 1, or VOID; texture: h x w, not 0 on texture
    edges; None where they are not known. Raises WsisError for maps of different sizes.
    """
    for name, given in (("semantic", semantic), ("texture", texture)):
        if given is not None and given.shape != instances.shape:
            raise WsisError(f"a {name} map of {given.shape}, but instances of {instances.shape} pixels")
    known = semantic != VOID
    of_class = np.concatenate([[-1], np.asarray(labels, np.int64)])[instances]
    contour, contact = np.zeros(semantic.shape, bool), np.zeros(semantic.shape, bool)
    pairs = [np.zeros((0, 2), np.int64)]
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None),), (slice(None, -1),)),
    ):
        change = (semantic[here] != semantic[there]) & known[here] & known[there]
        meet = (instances[here] != instances[there]) & (of_class[here] == of_class[there])
        meet &= (instances[here] > 0) & (instances[there] > 0)
        for edge, side in ((contour, change), (contact, meet)):
            edge[here] |= side
            edge[there] |= side
        pairs.append(np.stack([instances[here][meet], instances[there][meet]], 1) - 1)
    textured = np.zeros_like(contour) if texture is None else texture > 0
    inside = known & (semantic > 0)
    valid = ~_near(~known)
    beside = _near(contour)
    unlabelled = valid & ~beside
    return PixelGroups(
        contour=contour & valid,
        contact=contact & unlabelled,
        texture=textured & inside & unlabelled & ~_near(contact),
        interior=inside & unlabelled & ~_near(contact | textured),
        pairs=np.unique(np.sort(np.concatenate(pairs), axis=1), axis=0).astype(np.int64),
    )


def separated(objects: Sequence[dict], predictions: Sequence[dict], pairs: np.ndarray) -> np.ndarray:
    """Which pairs of objects of one image the predicted instances separate: n x 2 positions -> n bool.

    objects, predictions: compressed RLEs, predictions best first. A pair is separated where the prediction of
    the highest IoU with the one object is not that of the other, and each of the two finds its object: IoU
    above LEAST_IOU, so that cutting everything into pieces separates nothing. Their classes do not matter.
    """
    if len(pairs) == 0 or len(predictions) == 0:
        return np.zeros(len(pairs), bool)
    objects, predictions = list(objects), list(predictions)
    ious = masks.iou(predictions, objects, [0] * len(objects)).T  # N x P
    best, detected = ious.argmax(1), ious.max(1) > LEAST_IOU
    one, other = pairs[:, 0], pairs[:, 1]
    return (best[one] != best[other]) & detected[one] & detected[other]


@dataclass
class BoundaryScores:
    """Accumulates the responses of each group and the separated pairs, image by image."""

    images: int = 0
    pixels: dict[str, int] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0))
    pairs: int = 0
    split: int = 0
    responses: dict[str, float] = field(default_factory=lambda: dict.fromkeys(GROUPS, 0.0))  # sums
    measured: int = 0  # images with a boundary map
    _histograms: dict[str, np.ndarray] = field(
        default_factory=lambda: {name: np.zeros(_BINS, np.int64) for name in GROUPS[1:]}
    )

    def add(self, groups: PixelGroups, boundary: np.ndarray | None, split: np.ndarray) -> None:
        """Count one image.

        boundary: h x w float32 in [0, 1], None where the method makes none; split: n bool (`separated`).
        Raises WsisError for a boundary map of another size, or with values outside [0, 1].
        """
        if boundary is not None:
            if boundary.shape != groups.contour.shape:
                raise WsisError(
                    f"a boundary map of {boundary.shape}, but an image of {groups.contour.shape} pixels"
                )
            if not ((boundary >= 0) & (boundary <= 1)).all():  # NaN is not, either
                raise WsisError("a boundary map with values outside [0, 1]")
        self.images += 1
        self.pairs += len(groups.pairs)
        self.split += int(split.sum())
        for name in GROUPS:
            chosen = getattr(groups, name)
            self.pixels[name] += int(chosen.sum())
            if boundary is None:
                continue
            values = boundary[chosen].astype(np.float32)
            self.responses[name] += float(values.sum(dtype=np.float64))
            if name in self._histograms:
                bins = np.abs(values).view(np.uint32) >> _DROPPED  # of -0.0 as of 0
                self._histograms[name] += np.bincount(bins, minlength=_BINS)
        self.measured += boundary is not None

    def result(self) -> dict[str, Any]:
        """images, pixels of each group, pairs, and `measures`: per cent, None where undefined.

        response_<group>    mean boundary response x 100 of the group's pixels, all images pooled
        contact_AUC         area under the ROC curve of contacts against interiors, ties counted half
        contact_texture_AUC of contacts against texture edges
        split               share of the pairs that the predicted instances separate
        """
        seen = self.measured > 0
        measures: dict[str, float | None] = {}
        for name in GROUPS:
            count = self.pixels[name]
            measures[f"response_{name}"] = 100 * self.responses[name] / count if seen and count else None
        for name, against in (("contact_AUC", "interior"), ("contact_texture_AUC", "texture")):
            measures[name] = _auc(self._histograms["contact"], self._histograms[against])
        measures["split"] = 100 * self.split / self.pairs if self.pairs else None
        counts = {"images": self.images, "pixels": dict(self.pixels), "pairs": self.pairs}
        return {**counts, "measures": measures}


def _near(mask: np.ndarray) -> np.ndarray:
    """Pixels with one of `mask` within REACH, h x w bool."""
    square = np.ones((2 * REACH + 1, 2 * REACH + 1), np.uint8)
    return cv2.dilate(mask.astype(np.uint8), square) > 0


def _auc(positive: np.ndarray, negative: np.ndarray) -> float | None:
    """Per cent of (positive, negative) pairs in order, from counts by bin; None without pairs."""
    pairs = int(positive.sum()) * int(negative.sum())
    if not pairs:
        return None
    below = np.cumsum(negative) - negative
    return float(100 * (positive * (below + 0.5 * negative)).sum() / pairs)
