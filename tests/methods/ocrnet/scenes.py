"""Small OCRNet recipes and networks."""

from __future__ import annotations

import torch

from tests.methods.baiseg.scenes import CLASSES, SIDE
from wsis.declare.recipe import Recipe
from wsis.methods.ocrnet.method import OCRNet


def recipe(backbone: str = "tiny-hrnetv2-w48", channels: int = 16, key: int = 8) -> Recipe:
    tree = {
        "method": "ocrnet",
        "data": {"dataset": "shapes", "train": "train", "eval": "val", "supervision": "semantic"},
        "model": {
            "backbone": backbone, "weights": "none", "neck": "none", "head": "ocr", "norm": "batch",
        },
        "loss": {"full": "none", "projection": False, "pairwise": None},
        "ocrnet": {"channels": channels, "key": key, "crop": SIDE, "dropout": 0.0},
    }  # fmt: skip
    return Recipe.model_validate(tree, strict=False).settled()


def network() -> OCRNet:
    torch.manual_seed(0)
    return OCRNet(recipe(), CLASSES)
