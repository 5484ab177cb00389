"""The class groups of BoxInst's Sec. 3.6: VOC's twenty classes, and all others."""

from __future__ import annotations

from collections.abc import Sequence

from wsis.data import voc

# The twenty VOC classes under their COCO names.
VOC_GROUP = frozenset(
    {
        "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
        "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
    }
)  # fmt: skip


def voc_labels(dataset: str, names: Sequence[str]) -> set[int]:
    """Labels of the VOC class group among a root's class names, which are in the order of labels.

    In `shapes` the first of the three classes stands for it.
    """
    if dataset == "shapes":
        return {0}
    group = voc.CATEGORIES.values() if dataset == "voc" else VOC_GROUP
    return {label for label, name in enumerate(names) if name in set(group)}
