"""Small BAISeg recipes, networks, batches of crops and images."""

from __future__ import annotations

import numpy as np
import torch

from wsis.data.structures import SemanticBatch, SemanticSample
from wsis.declare.load import merged
from wsis.declare.recipe import Recipe
from wsis.methods.baiseg.method import BAISeg

CLASSES, VOID, SIDE = 3, 255, 48
TREE = {
    "method": "baiseg",
    "data": {"dataset": "shapes", "supervision": "semantic"},
    "model": {
        "backbone": "tiny-hrnet-w48", "weights": "none", "neck": "none", "head": "baiseg", "norm": "batch",
    },
    "loss": {"full": "none", "projection": False, "pairwise": None},
    "baiseg": {
        "dim": 8, "cascades": 2, "reduction": 4, "crop": SIDE, "contrast_warmup": 2, "samples": 64,
        "views": 8, "min_area": 4, "closing": 3,
    },
}  # fmt: skip


def recipe(supervision: str = "semantic", **baiseg) -> Recipe:
    """A tiny recipe; keywords are keys of its section `baiseg`."""
    over = {f"baiseg.{key}": value for key, value in baiseg.items()} | {"data.supervision": supervision}
    return Recipe.model_validate(merged(merged({}, TREE), over), strict=False).settled()


def network(supervision: str = "semantic", **baiseg) -> BAISeg:
    torch.manual_seed(0)
    return BAISeg(recipe(supervision, **baiseg), CLASSES)


def past_warmup(net: BAISeg) -> BAISeg:
    for iteration in range(net.spec.contrast_warmup):
        net.on_step_end(iteration)
    return net


def painted(semantic: np.ndarray, seed: int = 0) -> np.ndarray:
    """h x w x 3 uint8: a colour a class, with noise."""
    colours = np.array([[60, 60, 60], [200, 60, 60], [60, 200, 60], [60, 60, 200]])
    known = np.where(semantic == VOID, 0, semantic)
    noise = np.random.default_rng(seed).normal(0, 12, (*semantic.shape, 3))
    return np.clip(colours[known] + noise, 0, 255).astype(np.uint8)


def batch_of(*maps: np.ndarray, instances: list[np.ndarray] | None = None) -> SemanticBatch:
    images = [torch.from_numpy(painted(m, seed)).permute(2, 0, 1) for seed, m in enumerate(maps)]
    objects = None if instances is None else torch.from_numpy(np.stack(instances).astype(np.int16))
    semantic = torch.from_numpy(np.stack(maps).astype(np.uint8))
    return SemanticBatch(torch.stack(images), semantic, objects, list(range(len(maps))))


def scene(seed: int = 0, side: int = SIDE) -> np.ndarray:
    """side x side uint8: one rectangle of each class, and a void corner."""
    rng = np.random.default_rng(seed)
    semantic = np.zeros((side, side), np.uint8)
    for value in range(1, CLASSES + 1):
        y, x = rng.integers(2, side - 20, 2)
        semantic[y : y + rng.integers(8, 18), x : x + rng.integers(8, 18)] = value
    semantic[:6, -5:] = VOID
    return semantic


def touching(side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """Semantic and instance map of two squares of class 1 that share the line between columns 23 and 24."""
    instances = np.zeros((side, side), np.int16)
    instances[16:32, 8:24] = 1
    instances[16:32, 24:40] = 2
    return np.where(instances > 0, 2, 0).astype(np.uint8), instances


def sample(semantic: np.ndarray, given: bool = False, seed: int = 0) -> SemanticSample:
    image = torch.from_numpy(painted(semantic, seed)).permute(2, 0, 1).contiguous()
    return SemanticSample(image, tuple(semantic.shape), seed, semantic if given else None)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
