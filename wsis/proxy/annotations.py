"""Proxy masks as the COCO annotations that a Mask R-CNN trains on: merged, and the doubtful ones dropped.

Every annotation stays. A dropped mask's is a box with "ignore_mask": 1 and no "segmentation": its box and
class are learnt, its mask is not (BoxCaseg, Sec. 3.4). Memory holds one image, whatever their number.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pycocotools import mask as masks

from wsis.declare.specs.parents import ProxySpec
from wsis.files import atomic
from wsis.proxy.agreement import agreements, dropped
from wsis.proxy.merge import merge


def rules_of(spec: ProxySpec, seed: int) -> dict[str, Any]:
    """What is done to raw masks, for JSON; seed: of order "random"."""
    return {**spec.model_dump(include={"merge", "order", "drop", "agreement"}), "seed": seed}


@dataclass
class ProxyStats:
    """Counts over images. empty: masks without a pixel that are kept, since nothing is dropped at 0."""

    images: int = 0
    objects: int = 0
    kept: int = 0
    empty: int = 0

    @property
    def drop_rate(self) -> float | None:
        """Share of the objects whose mask is dropped, 0 to 1; None without objects."""
        return 1 - self.kept / self.objects if self.objects else None

    def content(self) -> dict[str, Any]:
        """For JSON: the counts and drop_rate."""
        return {**asdict(self), "drop_rate": self.drop_rate}


def proxy_annotations(
    image: dict[str, Any], spec: ProxySpec, stats: ProxyStats, seed: int = 0
) -> list[dict[str, Any]]:
    """The annotations of one image of a raw file (`wsis.proxy.generate`), counted in `stats`.

    spec: how masks are merged and dropped; seed: of order "random"

    Each has id, image_id, category_id, bbox, iscrowd and area. An object's has "agreement" and "certainty"
    (where known), and "segmentation" with the mask's area, or "ignore_mask" with the box's. Crowd regions
    take no part in merging and count as no object; theirs has "ignore_mask".
    """
    objects = [entry for entry in image["objects"] if not entry.get("iscrowd")]
    rles = [entry["rle"] for entry in objects]
    bboxes = np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(-1, 4)
    if spec.merge:
        rng = np.random.default_rng([seed, image["image_id"]]) if spec.order == "random" else None
        rles = merge(rles, bboxes, spec.order, rng)
    agree = agreements(rles, bboxes, spec.agreement)
    ignore = dropped(agree, spec.drop).tolist()
    areas = masks.area(rles).tolist() if rles else []
    stats.images += 1
    stats.objects += len(objects)
    stats.kept += len(objects) - sum(ignore)
    stats.empty += sum(area == 0 and not drop for area, drop in zip(areas, ignore, strict=True))

    outcomes = zip(rles, areas, agree.tolist(), ignore, strict=True)
    annotations = []
    for entry in image["objects"]:
        crowd, bbox = int(bool(entry.get("iscrowd"))), entry["bbox"]
        annotation = {
            "id": entry["annotation_id"],
            "image_id": image["image_id"],
            "category_id": entry["category_id"],
            "bbox": bbox,
            "iscrowd": crowd,
            "area": bbox[2] * bbox[3],
        }
        annotations.append(annotation)
        if crowd:
            annotation["ignore_mask"] = 1
            continue
        rle, area, value, drop = next(outcomes)
        annotation["agreement"] = round(value, 6)
        if entry.get("certainty") is not None:
            annotation["certainty"] = entry["certainty"]
        if drop:
            annotation["ignore_mask"] = 1
        else:
            annotation["area"] = area
            annotation["segmentation"] = {"size": rle["size"], "counts": _text(rle["counts"])}
    return annotations


def proxy_masks(
    images: Iterable[dict[str, Any]], spec: ProxySpec, seed: int = 0
) -> tuple[dict[int, dict[str, Any]], dict[str, Any]]:
    """Annotation id -> mask (counts as text) of the kept ones of raw `images`, and the statistics."""
    stats = ProxyStats()
    kept = {}
    for image in images:
        for annotation in proxy_annotations(image, spec, stats, seed):
            if "segmentation" in annotation:
                kept[annotation["id"]] = annotation["segmentation"]
    return kept, stats.content()


def write_annotations(
    images: Iterable[dict[str, Any]],
    categories: Sequence[dict[str, Any]],
    path: Path,
    spec: ProxySpec,
    seed: int = 0,
    info: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write the COCO file of raw `images` (`read_proxies`) to `path`, atomically; returns the statistics.

    categories: COCO's, id and name. The file's "info" is `info`, the rules and the statistics: "images",
    "objects", "kept", "empty", "drop_rate" (0 to 1, None without objects).
    """
    stats = ProxyStats()
    with atomic(path) as file:
        # COCO's keys may stand in any order: the images wait in a file of their own.
        with tempfile.TemporaryFile(dir=Path(path).parent) as listing:
            file.write(f'{{"categories":{_json(list(categories))},\n"annotations":['.encode())
            first = True
            for image in images:
                entry = {"id": image["image_id"], **{key: image[key] for key in _IMAGE}}
                _append(listing, [entry], not stats.images)
                annotations = proxy_annotations(image, spec, stats, seed)
                _append(file, annotations, first)
                first = first and not annotations
            file.write(b'],\n"images":[')
            listing.seek(0)
            shutil.copyfileobj(listing, file, 1 << 14)
        content = {**(info or {}), "rules": rules_of(spec, seed), "stats": stats.content()}
        file.write(f'],\n"info":{_json(content)}}}\n'.encode())
    return stats.content()


_IMAGE = ("file_name", "height", "width")


def _append(file: BinaryIO, entries: list[dict[str, Any]], first: bool) -> None:
    """More elements of a JSON list, a line each."""
    if entries:
        file.write((("\n" if first else ",\n") + ",\n".join(map(_json, entries))).encode())


def _text(counts: str | bytes) -> str:
    return counts if isinstance(counts, str) else counts.decode("ascii")


_json = json.JSONEncoder(separators=(",", ":")).encode
