"""How well colour alone separates the objects of a COCO-layout root: the edge statistics of `shapes`.

H x W is the image averaged over 2 x 2 pixels. An edge joins a pixel with one of its eight neighbours at
distance two (3 x 3, dilation 2), undirected. E_in are the edges with an endpoint inside an instance's box;
an edge is positive when both ends lie on the same side of the instance's mask. S_e = exp(-dE / 2) in CIE Lab
(BoxInst, Eq. 7).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from wsis.data.colour import rgb_to_lab
from wsis.files import read_json

OFFSETS = ((0, 2), (2, 0), (2, 2), (2, -2))
TAUS = (0.0, 0.1, 0.2, 0.3)


def separability(root: Path, split: str = "val", limit: int = 150) -> dict:
    """Edge statistics over the first `limit` images of a split, numpy only.

    Returns {"stride": 2, "size": 3, "dilation": 2, "theta": 2.0, "images": int, "tau": [...],
    "prop": [...], "kept": [...]}: prop is the share, in per cent, of positive edges among those of E_in with
    S_e >= tau; kept the share of all positive edges that S_e >= tau keeps.
    """
    content = read_json(root / "annotations" / f"instances_{split}.json")
    by_image: dict[int, list[dict]] = {}
    for annotation in content["annotations"]:
        by_image.setdefault(annotation["image_id"], []).append(annotation)
    images = content["images"][:limit]
    edges, positive = np.zeros(len(TAUS)), np.zeros(len(TAUS))
    for record in images:
        with Image.open(root / split / record["file_name"]) as file:
            small = _halved(np.asarray(file.convert("RGB"), np.float32))
        masks = [
            _halved(rle.decode(a["segmentation"]).astype(np.float32)) >= 0.5
            for a in by_image.get(record["id"], ())
        ]
        boxes = [np.array(a["bbox"]) / 2 for a in by_image.get(record["id"], ())]
        lab = rgb_to_lab(small)
        inside = [_box_map(box, lab.shape[:2]) for box in boxes]
        for offset in OFFSETS:
            first, second = _ends(offset)
            similarity = np.exp(-np.linalg.norm(lab[first] - lab[second], axis=-1) / 2)
            for mask, box in zip(masks, inside, strict=True):
                of_box = box[first] | box[second]
                near, same = similarity[of_box], (mask[first] == mask[second])[of_box]
                for i, tau in enumerate(TAUS):
                    kept = near >= tau
                    edges[i] += np.count_nonzero(kept)
                    positive[i] += np.count_nonzero(kept & same)
    prop = 100 * positive / np.maximum(edges, 1)
    kept = 100 * positive / max(positive[0], 1)
    return {
        "stride": 2, "size": 3, "dilation": 2, "theta": 2.0, "images": len(images), "tau": list(TAUS),
        "prop": prop.round(2).tolist(), "kept": kept.round(2).tolist(),
    }  # fmt: skip


def _halved(array: np.ndarray) -> np.ndarray:
    """Mean over 2 x 2 pixels; an odd last row or column is left out."""
    h, w = array.shape[0] // 2, array.shape[1] // 2
    return array[: 2 * h, : 2 * w].reshape(h, 2, w, 2, *array.shape[2:]).mean((1, 3))


def _box_map(box: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    x, y, w, h = box
    row, column = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
    return ((row >= y) & (row < y + h))[:, None] & ((column >= x) & (column < x + w))[None]


def _ends(offset: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    dy, dx = offset
    rows = (slice(None, -dy or None), slice(dy, None))
    left, right = slice(None, -abs(dx) or None), slice(abs(dx), None)
    columns = (left, right) if dx >= 0 else (right, left)
    return (rows[0], columns[0]), (rows[1], columns[1])
