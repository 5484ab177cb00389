"""Random COCO ground truths with predictions, written as the files that evaluation reads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as masks


def rle(mask: np.ndarray) -> dict[str, Any]:
    """Compressed RLE, as JSON holds it, of an h x w mask."""
    encoded = masks.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode()}


@dataclass
class Scene:
    """A ground truth and predictions on it, masks kept as arrays."""

    size: tuple[int, int] = (120, 160)
    images: list[int] = field(default_factory=list)
    categories: list[int] = field(default_factory=list)
    truth: list[dict[str, Any]] = field(default_factory=list)  # id, image_id, category_id, mask, iscrowd
    found: list[dict[str, Any]] = field(default_factory=list)  # image_id, category_id, score, mask
    info: dict[str, Any] = field(default_factory=dict)
    area: float = 1.0  # the file's area unit: `area` of a pixel

    def add(self, image: int, category: int, mask: np.ndarray, iscrowd: int = 0) -> None:
        number = len(self.truth) + 1
        entry = {"id": number, "image_id": image, "category_id": category, "mask": mask, "iscrowd": iscrowd}
        self.truth.append(entry)

    def find(self, image: int, category: int, mask: np.ndarray, score: float) -> None:
        self.found.append({"image_id": image, "category_id": category, "score": score, "mask": mask})

    def dataset(self) -> dict[str, Any]:
        height, width = self.size
        return {
            "info": self.info,
            "images": [
                {"id": i, "file_name": f"{i}.png", "height": height, "width": width} for i in self.images
            ],
            "categories": [{"id": c, "name": f"class {c}"} for c in self.categories],
            "annotations": [
                {key: value for key, value in entry.items() if key != "mask"}
                | {"segmentation": rle(entry["mask"]), "area": float(entry["mask"].sum()) * self.area}
                for entry in self.truth
            ],
        }

    def results(self) -> list[dict[str, Any]]:
        return [
            {key: value for key, value in entry.items() if key != "mask"}
            | {"segmentation": rle(entry["mask"])}
            for entry in self.found
        ]

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Paths of predictions and ground truth."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / "predictions.json", folder / "instances.json"
        paths[0].write_text(json.dumps(self.results()))
        paths[1].write_text(json.dumps(self.dataset()))
        return paths


def ellipse(rng: np.random.Generator, size: tuple[int, int], radius: tuple[float, float]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    r, c = rng.uniform(0, size[0]), rng.uniform(0, size[1])
    a, b = rng.uniform(*radius, 2)
    return ((rows - r) / a) ** 2 + ((columns - c) / b) ** 2 <= 1


def make_scene(
    seed: int,
    size: tuple[int, int] = (120, 160),
    images: int = 12,
    categories: tuple[int, ...] = (3, 7, 18, 44),
    radius: tuple[float, float] = (6, 90),
    objects: int = 5,
    extra: int = 4,
    levels: int = 0,
    crowd: float = 0.0,
) -> Scene:
    """Objects, a shifted detection of most, and `extra` unrelated detections an image.

    categories: the last one has no object; levels: scores take so many values (0: all different)
    """
    rng = np.random.default_rng(seed)
    scene = Scene(size, [int(i) for i in rng.permutation(images * 3)[:images]], list(categories))
    score = (lambda: float(rng.integers(1, levels + 1)) / levels) if levels else (lambda: float(rng.random()))
    for image in scene.images:
        for _ in range(rng.integers(0, objects + 1)):
            category, mask = int(rng.choice(categories[:-1])), ellipse(rng, size, radius)
            if not mask.any():
                continue
            scene.add(image, category, mask, int(rng.random() < crowd))
            for _ in range(rng.integers(0, 3)):
                shift = tuple(int(s) for s in rng.integers(-4, 5, 2))
                moved = np.roll(mask, shift, (0, 1)) ^ (rng.random(size) < rng.choice([0.0, 0.05]))
                label = category if rng.random() < 0.85 else int(rng.choice(categories))
                scene.find(image, label, moved, score())
        for _ in range(extra):
            scene.find(image, int(rng.choice(categories)), ellipse(rng, size, radius), score())
    return scene


@pytest.fixture(scope="session")
def scene_of():
    """`make_scene`, for tests."""
    return make_scene


@pytest.fixture
def empty_scene() -> Scene:
    """One 10 x 10 image (id 1), one category (id 1), nothing on it."""
    return Scene((10, 10), [1], [1])
