"""The threshold of BAISeg's boundary map: chosen on development images, once the network is trained.

The balanced loss leaves the map uncalibrated, so that one number can't serve networks that are compared; the
paper gives none (erratum watershed-seeds).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from wsis.data.annotations import Picture
from wsis.data.loading import groups
from wsis.data.roots import Root
from wsis.data.shared import samples_key, shared_samples
from wsis.declare.recipe import Recipe
from wsis.evaluation.rle import truth_rle
from wsis.evaluation.voc import class_aps
from wsis.methods.baiseg.batches import DEV, dev_samples

if TYPE_CHECKING:  # the extraction's libraries take long to import, and only BAISeg needs them
    from wsis.methods.baiseg.extract.pipeline import Extracted

GRID = (
    0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
)  # fmt: skip
CRITERION = "AP50"  # of VOC's protocol, on the development images


def set_threshold(recipe: Recipe, method: nn.Module, root: Root) -> dict[str, Any]:
    """Give `method` its threshold, chosen where the recipe has none; returns what train.json says of it.

    The one with the best AP50 on the development images, the lowest of equals. Of several processes each
    extracts the instances of its share of the images, and all choose by the instances of all.
    """
    spec = recipe.baiseg
    if spec.threshold is not None or spec.boundary == "none":
        method.threshold = spec.threshold
        return {}
    choice = _choice(recipe, method, root)
    method.threshold = choice["value"]
    return {"threshold": choice}


def _choice(recipe: Recipe, method: nn.Module, root: Root) -> dict[str, Any]:
    """The best threshold, the number of development images, and every candidate's AP50 on them."""
    dev = dev_samples(recipe, root)
    method.eval()
    rank, world = 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    samples = shared_samples(samples_key(recipe, root, DEV), (sample for _, sample in dev[rank::world]))
    mine = [
        [method.extracted(maps, method.extraction_at(value)) for value in GRID]
        for group in groups(samples, method.iteration.device)
        for maps in method.maps(group)
    ]
    found = _of_all(mine, len(dev), world)
    pictures, scores = [picture for picture, _ in dev], {}
    for place, value in enumerate(GRID):
        scores[value] = round(average_precision(pictures, [of_image[place] for of_image in found]), 3)
    return {
        "value": max(GRID, key=lambda value: (scores[value], -value)),
        "images": len(dev),
        CRITERION: {f"{value:g}": score for value, score in scores.items()},
    }


def _of_all(mine: list[Any], total: int, world: int) -> list[Any]:
    """What all processes have, in the order of the `total` images, of which each had every world-th."""
    if world == 1:
        return mine
    parts: list[Any] = [None] * world
    torch.distributed.all_gather_object(parts, mine)
    return [parts[place % world][place // world] for place in range(total)]


def average_precision(pictures: list[Picture], extracted: list[list[Extracted]]) -> float:
    """AP50 in per cent by VOC's protocol, mean over the classes that the pictures have; 0 without objects."""
    targets, entries = defaultdict(list), defaultdict(list)
    for picture, instances in zip(pictures, extracted, strict=True):
        for instance in (i for i in picture.instances if not i.crowd):
            rle = truth_rle(instance.segmentation, (picture.height, picture.width))
            targets[instance.label, picture.id].append(rle)
        for e in instances:
            entries[e.label, picture.id].append({"score": e.score, "segmentation": e.mask})
    images, labels = [picture.id for picture in pictures], sorted({label for label, _ in targets})
    aps = [class_aps(label, images, targets, entries)[CRITERION] for label in labels]
    return 100.0 * float(np.mean(aps)) if aps else 0.0
