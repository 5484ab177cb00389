"""What tests of BAISeg's runs share: extraction settings of a recipe, and a slow AP50."""

from __future__ import annotations

import numpy as np
from pycocotools import mask as masks

from wsis.data.annotations import Picture
from wsis.declare.recipe import Recipe
from wsis.methods.baiseg.extract.instances import Extracted
from wsis.methods.baiseg.spec import BaisegSpec


def settings_of(recipe: Recipe, value: float) -> BaisegSpec:
    return recipe.baiseg.model_copy(update={"threshold": value})


def literal_ap50(pictures: list[Picture], found: list[list[Extracted]]) -> float:
    """VOC's AP50 in per cent, mean over classes: each detection takes its best free object."""
    truth = {
        p.id: [
            (i.label, masks.decode(_rle(i.segmentation, p)).astype(bool)) for i in p.instances if not i.crowd
        ]
        for p in pictures
    }
    labels = {label for objects in truth.values() for label, _ in objects}
    areas = []
    for label in labels:
        detections = [
            (e.score, p.id, masks.decode(e.mask).astype(bool))
            for p, entries in zip(pictures, found, strict=True)
            for e in entries
            if e.label == label
        ]
        left = {id: [m for other, m in objects if other == label] for id, objects in truth.items()}
        total, right, curve = sum(map(len, left.values())), 0, []
        for rank, (_, id, mask) in enumerate(sorted(detections, key=lambda d: -d[0]), 1):
            overlaps = [(mask & m).sum() / (mask | m).sum() for m in left[id]]
            if overlaps and max(overlaps) > 0.5:
                del left[id][int(np.argmax(overlaps))]
                right += 1
            curve.append((right / total, right / rank))
        area = before = 0.0
        for recall, _ in curve:
            area += (recall - before) * max(p for r, p in curve if r >= recall)
            before = recall
        areas.append(area)
    return 100 * float(np.mean(areas)) if areas else 0.0


def _rle(segmentation: dict | list, picture: Picture) -> dict:
    if isinstance(segmentation, list):
        return masks.merge(masks.frPyObjects(segmentation, picture.height, picture.width))
    if isinstance(segmentation["counts"], list):
        return masks.frPyObjects(segmentation, picture.height, picture.width)
    return segmentation
