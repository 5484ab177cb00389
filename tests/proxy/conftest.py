"""Small scenes of overlapping masks, and loops over pixels to compare with."""

import numpy as np
import pytest
from pycocotools import mask as masks


def encode(mask):
    return masks.encode(np.asfortranarray(mask, dtype=np.uint8))


def make_scene(seed, size=(13, 17), objects=6):
    """N masks (N x h x w bool) and given boxes: filled, noisy, one empty, one full, one outside its box."""
    rng = np.random.default_rng(seed)
    h, w = size
    drawn, bboxes = [], []
    for number in range(objects):
        x, y = int(rng.integers(0, w - 1)), int(rng.integers(0, h - 1))
        bw, bh = int(rng.integers(1, w - x + 1)), int(rng.integers(1, h - y + 1))
        mask = np.zeros(size, bool)
        mask[y : y + bh, x : x + bw] = rng.random((bh, bw)) < rng.choice([0.3, 0.8, 1.0])
        kind = (seed + number) % 7
        if kind == 0:
            mask[:] = False
        elif kind == 1:
            mask[:] = True
        elif kind == 2:
            mask = np.roll(mask, 5, 1)
        drawn.append(mask)
        bboxes.append([x, y, bw, bh])
    return np.array(drawn), np.array(bboxes, dtype=float)


def make_image(seed, id=None, **scene):
    """A raw image as `wsis.proxy.generate` writes it."""
    drawn, bboxes = make_scene(seed, **scene)
    rng = np.random.default_rng(seed)
    id = seed if id is None else id
    h, w = drawn.shape[1:]
    objects = [
        {
            "annotation_id": 100 * id + number + 1,
            "category_id": 1 + number % 2,
            "bbox": bbox.tolist(),
            "rle": encode(mask),
            "certainty": float(rng.random()),
        }
        for number, (mask, bbox) in enumerate(zip(drawn, bboxes, strict=True))
    ]
    return {"image_id": id, "file_name": f"{id}.jpg", "height": h, "width": w, "objects": objects}


@pytest.fixture(scope="session")
def scene_of():
    """`make_scene`, for tests."""
    return make_scene


@pytest.fixture(scope="session")
def image_of():
    """`make_image`, for tests."""
    return make_image


@pytest.fixture(scope="session")
def rle_of():
    """A mask's compressed RLE, for tests."""
    return encode
