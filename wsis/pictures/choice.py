"""Which images are shown: decided by their annotated boxes, before any mask of theirs is seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torchvision.ops import box_iou

from wsis.data.roots import Picture
from wsis.methods.sim.pseudo_quality import overlapping

IMAGES = 6
ROWS = 2  # objects of one image whose maps are shown
SMALLEST = 1 / 12  # of the short side: objects whose box is smaller are hard to see
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
        boxes = np.array([i.box for i in large])
        labels = np.array([i.label for i in large])
        ious = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy().copy()
        ious[np.eye(len(large), dtype=bool) | (labels[:, None] != labels[None])] = 0
        if overlapping(boxes, labels).any():
            tier, shown = 0, np.unravel_index(ious.argmax(), ious.shape)
        else:
            areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
            tier, shown = 1 if len(large) > 1 else 2, (-areas).argsort(kind="stable")[:ROWS]
        shown = sorted(int(i) for i in shown)
        tiers[tier].append((replace(picture, instances=large), shown))
        if len(tiers[0]) == count:
            break
    return [chosen for tier in tiers for chosen in tier][:count]


def contested(pictures: Sequence[Picture], count: int = IMAGES, few: int = FEW) -> list[Picture]:
    """The first pictures of which a box covers a quarter of another's, whatever their classes; then others.

    Of each kind those with at most `few` objects come first; pictures without objects are left out. Crowd
    regions don't count.
    """
    tiers: list[list[Picture]] = [[], [], [], []]
    for picture in pictures:
        boxes = np.array([i.box for i in picture.instances if not i.crowd]).reshape(-1, 4)
        if len(boxes) == 0:
            continue
        low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
        high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
        common = (high - low).clip(min=0).prod(2) * ~np.eye(len(boxes), dtype=bool)
        areas = (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(1)
        apart = not (common > CONTESTED * areas[:, None]).any()
        tiers[2 * apart + (len(boxes) > few)].append(picture)
        if len(tiers[0]) == count:
            break
    return [picture for tier in tiers for picture in tier][:count]
