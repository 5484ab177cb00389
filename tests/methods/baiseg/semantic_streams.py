"""Recipes, streams and a root for the tests of semantic crops."""

from __future__ import annotations

from itertools import islice

import numpy as np
import torch
from PIL import Image

from wsis.data.loading import Shard
from wsis.data.roots import Root, open_root
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.model import ModelSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.methods.baiseg.batches import semantic_batches
from wsis.methods.baiseg.spec import BaisegSpec

NAMES = {"shapes": ("train", "val"), "coco": ("train2017", "val2017"), "voc": ("train", "val")}


def baiseg(dataset="shapes", batch=8, seed=0, backbone="tiny-resnet50", crop=64, own=None, **data):
    """A recipe of 64 x 64 crops."""
    train, evaluated = NAMES[dataset]
    data = {"train": train, "eval": evaluated, "supervision": "semantic", **data}
    data = {"short_side": (64, 96, 120), "augment": "dihedral", **data}
    return Recipe(
        method="baiseg",
        seed=seed,
        data=DataSpec(dataset=dataset, **data),
        model=ModelSpec(backbone=backbone, neck="none", head="baiseg"),
        baiseg=BaisegSpec(crop=crop, **(own or {})),
        schedule=ScheduleSpec(batch=batch),
    )


def take(number, recipe, root, start=0, **options):
    root = root if isinstance(root, Root) else open_root(recipe, root)
    return list(islice(semantic_batches(recipe, root, Shard(start, **options)), number))


def same(a, b):
    assert (a.instances is None) == (b.instances is None)
    pairs = [(a.images, b.images), (a.semantic, b.semantic)]
    pairs += [] if a.instances is None else [(a.instances, b.instances)]
    return a.ids == b.ids and all(x.dtype == y.dtype and torch.equal(x, y) for x, y in pairs)


def alike(first, second):
    return [same(a, b) for x, y in zip(first, second, strict=True) for a, b in zip(x, y, strict=True)]


def painted_root(coco_root):
    """A COCO root whose images show their maps: red where class 1 is, green where 2 is, blue where none."""

    def change(content):
        content["annotations"] = []
        for image in content["images"]:
            boxes = ((3, (2, 3, 13, 9)), (3, (13, 3, 18, 9)), (7, (18, 8, 28, 17)))
            for category, (x0, y0, x1, y1) in boxes:
                content["annotations"].append(
                    {
                        "id": len(content["annotations"]) + 1,
                        "image_id": image["id"],
                        "category_id": category,
                        "iscrowd": 0,
                        "bbox": [x0, y0, x1 - x0, y1 - y0],
                        "area": 1,
                        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
                    }
                )

    root = coco_root(change)
    pixels = np.zeros((20, 30, 3), np.uint8)
    pixels[..., 2] = 255
    pixels[3:9, 2:18] = 255, 0, 0
    pixels[8:17, 18:28] = 0, 255, 0
    for id in range(1, 5):
        Image.fromarray(pixels).save(root / "train2017" / f"{id}.jpg", format="PNG")
    return root
