"""What settings are chosen by: the images and their annotations, and the device."""

from __future__ import annotations

import hashlib
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsis.data import voc
from wsis.data.check.report import EVALUATED
from wsis.data.splits import (
    coco_file,
    dataset_of,
    fingerprint,
    joint_categories,
    read_split,
    splits_of,
)
from wsis.errors import WsisError


@dataclass(frozen=True)
class DataFacts:
    """A root as a training sees it.

    dataset:     "coco" or "voc", by its layout
    train, val:  its splits; val None: there is none
    images:      training images with an object
    objects:     in them
    classes:     number of classes
    typical:     objects of the class in their middle, by number of objects (the lower median)
    masks:       training objects with a mask
    val_masks:   whether objects of val have masks, so that AP can be measured
    digest:      10 hex digits of the training annotations and the classes, which weights depend on
    """

    dataset: str
    root: Path
    train: str
    val: str | None
    images: int
    objects: int
    classes: int
    typical: int
    masks: int
    val_masks: bool
    digest: str


@dataclass(frozen=True)
class DeviceFacts:
    """kind: "cpu" or "cuda"; name: in words; gigabytes: of its memory; cores: of the processor."""

    kind: str
    name: str
    gigabytes: float
    cores: int


def data_facts(root: Path, train: str | None = None, val: str | None = None) -> DataFacts:
    """Look at a root. train, val: its splits; None: the only ones there are.

    Raises WsisError where the folder has no layout that is read, or several splits could be meant.
    """
    if not root.is_dir():
        raise WsisError(f"{root}: no such folder; give the root of your images (--data)")
    dataset = dataset_of(root)
    there = splits_of(root, dataset)
    train = train or _only(root, [split for split in there if not split.startswith(EVALUATED)], "train")
    others = [split for split in there if split.startswith(EVALUATED) and split != train]
    val = val or (_only(root, others, "val") if others else None)
    for split in (train, val):
        if split is not None and split not in there:
            raise WsisError(f"{root}: no split '{split}' (there are: {', '.join(there)})")
    content = read_split(root, dataset, train)
    objects = [each for each in content["annotations"] if not each.get("iscrowd")]
    validated = read_split(root, dataset, val) if val else {"annotations": []}
    names = classes_of(root, dataset, [split for split in (train, val) if split])
    return DataFacts(
        dataset,
        root,
        train,
        val,
        len({each.get("image_id") for each in objects}),
        len(objects),
        len(names),
        _typical(names, objects),
        sum(bool(each.get("segmentation")) for each in objects),
        any(each.get("segmentation") for each in validated["annotations"]),
        _digest(fingerprint(root, dataset, train, None), names),
    )


def classes_of(root: Path, dataset: str, splits: Sequence[str]) -> dict[int, str]:
    """Category id -> name of these splits, in the order of their ids."""
    if dataset == "voc":
        return voc.CATEGORIES
    named = joint_categories(coco_file(root, split) for split in splits)
    return dict(sorted(named.items()))


def _typical(names: Mapping[int, str], objects: Sequence[Mapping[str, Any]]) -> int:
    counts = Counter(each.get("category_id") for each in objects)
    return statistics.median_low([counts[id] for id in names] or [0])


def _digest(annotations: str, names: Mapping[int, str]) -> str:
    return hashlib.sha256(f"{annotations} {[*names.items()]}".encode()).hexdigest()[:10]


def _only(root: Path, there: list[str], option: str) -> str:
    usual = [split for split in there if split in (option, f"{option}2017")]
    if len(there) != 1 and len(usual) != 1:
        found = ", ".join(there) or "none"
        raise WsisError(f"{root}: which split is it? Give --{option} NAME (there are: {found})")
    return (usual or there)[0]


def device_facts(kind: str | None) -> DeviceFacts:
    """The device asked for, or a graphics card where there is one. Raises WsisError where it isn't there."""
    import torch

    cores = len(os.sched_getaffinity(0))
    if kind not in (None, "cpu", "cuda"):
        raise WsisError(f"--device {kind}: expected cpu or cuda")
    there = torch.cuda.is_available()
    if kind == "cuda" and not there:
        raise WsisError("--device cuda: no graphics card is there; say cpu")
    if there and kind != "cpu":
        properties = torch.cuda.get_device_properties(0)
        return DeviceFacts("cuda", properties.name, properties.total_memory / 2**30, cores)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return DeviceFacts("cpu", "processor", memory, cores)
