"""Which images are shown: decided by their annotated boxes, before any mask of theirs is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wsis.data.annotations import Picture

IMAGES = 6
ROWS = 2  # objects of one image whose maps are shown
SMALLEST = 1 / 12  # of the short side: objects whose box is smaller are hard to see
OVERLAP = 0.1  # IoU of boxes of one class whose objects overlap
CONTESTED = 0.25  # of a box that another covers: the two have masks to compete
FEW = 6  # objects that have colours of their own


def choose(pictures: Sequence[Picture], count: int = IMAGES) -> list[tuple[Picture, list[int]]]:
    """The first pictures with overlapping objects of one class; then others of several objects, then of one.

    Crowd regions and objects too small to see are left out of the pictures. With each: the objects shown, the
    two of one class that overlap most, or else the largest.
    """
    tiers: list[list[tuple[Picture, list[int]]]] = [[], [], []]
    for picture in pictures:
        limit = SMALLEST * min(picture.height, picture.width)
        large = [
            i
            for i in picture.instances
            if not i.crowd and min(i.box[2] - i.box[0], i.box[3] - i.box[1]) >= limit
        ]
        if not large:
            continue
        labels = np.array([i.label for i in large])
        common, areas = _common(large)
        ious = common / (areas[:, None] + areas[None] - common) * (labels[:, None] == labels[None])
        if (ious > OVERLAP).any():
            tier, shown = 0, np.unravel_index(ious.argmax(), ious.shape)
        else:
            tier, shown = 1 if len(large) > 1 else 2, (-areas).argsort(kind="stable")[:ROWS]
        tiers[tier].append((replace(picture, instances=large), sorted(int(i) for i in shown)))
        if len(tiers[0]) == count:
            break
    return [chosen for tier in tiers for chosen in tier][:count]


def contested(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures in which a box covers a quarter of another, whatever their classes; then others.

    At most IMAGES. Of each kind those with at most FEW objects come first; pictures without objects are left
    out. Crowd regions don't count.
    """
    tiers: list[list[Picture]] = [[], [], [], []]
    for picture in pictures:
        objects = [i for i in picture.instances if not i.crowd]
        if not objects:
            continue
        common, areas = _common(objects)
        apart = not (common > CONTESTED * areas[:, None]).any()
        tiers[2 * apart + (len(objects) > FEW)].append(picture)
        if len(tiers[0]) == IMAGES:
            break
    return [picture for tier in tiers for picture in tier][:IMAGES]


def _common(objects: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Pixels that the boxes of two of N objects share, N x N, 0 of one with itself; N areas."""
    boxes = np.array([i.box for i in objects], float)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    common = (high - low).clip(min=0).prod(2) * ~np.eye(len(boxes), dtype=bool)
    return common, (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)
