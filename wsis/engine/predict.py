"""Predictions of a trained method as COCO results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from wsis.data.structures import Instances, Sample
from wsis.engine.progress import Progress
from wsis.errors import WsisError
from wsis.files import read_json, write_text

MAX_IMAGES = 16  # images a call of `predict`
MAX_PIXELS = 2_000_000  # pixels a call, padding included


def predict_run(
    method: nn.Module,
    samples: Iterable[Sample],
    category_ids: Sequence[int],
    path: Path,
    fabric: Fabric,
    title: str = "predict",
    total: int = 0,
    show: bool = True,
) -> int:
    """Predict `samples` (this rank's share) and write predictions.json to `path`; returns the detections.

    The file is a list of {"image_id", "category_id", "score" (6 decimals), "segmentation": {"size": [h, w],
    "counts": str}}, ordered by image id, best first within an image, whatever the number of ranks.
    category_ids: category id of each contiguous label. total: images over all ranks, for the progress.
    Raises WsisError naming the image whose score is not finite.
    """
    method.to(fabric.device)
    method.eval()
    rank, world = fabric.global_rank, fabric.world_size
    entries: list[dict[str, Any]] = []
    done = 0
    with torch.no_grad(), Progress(f"{title}: images", total // world, 0, show and rank == 0) as progress:
        for group in groups(samples):
            moved = [
                sample
                if sample.image.device == fabric.device
                else replace(sample, image=sample.image.to(fabric.device))
                for sample in group
            ]
            found = method.predict(moved)
            if len(found) != len(group):
                raise ValueError(f"predict gave {len(found)} results for {len(group)} images")
            for sample, instances in zip(group, found, strict=True):
                entries.extend(coco_results(sample, instances, category_ids))
            done += len(group)
            progress.update(done)
    return save_entries(entries, path, fabric)


def groups(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Consecutive samples, as many as padded to a common size stay within MAX_IMAGES and MAX_PIXELS."""
    group: list[Sample] = []
    height = width = 0
    for sample in samples:
        h, w = max(height, sample.image.shape[1]), max(width, sample.image.shape[2])
        if group and (len(group) == MAX_IMAGES or (len(group) + 1) * h * w > MAX_PIXELS):
            yield group
            group = []
            h, w = sample.image.shape[1:]
        group.append(sample)
        height, width = h, w
    if group:
        yield group


def coco_results(sample: Sample, instances: Instances, category_ids: Sequence[int]) -> list[dict[str, Any]]:
    """One image's instances as COCO results, in the order given."""
    entries = []
    rows = zip(instances.labels.tolist(), instances.scores.tolist(), instances.masks, strict=True)
    for label, score, mask in rows:
        if not math.isfinite(score):
            raise WsisError(
                f"image {sample.id}: predicted score {score}; the weights are probably not finite"
            )
        counts = mask["counts"]
        counts = counts.decode("ascii") if isinstance(counts, bytes) else counts
        entries.append(
            {
                "image_id": sample.id,
                "category_id": category_ids[label],
                "score": round(score, 6),
                "segmentation": {"size": [int(side) for side in mask["size"]], "counts": counts},
            }
        )
    return entries


def save_entries(entries: list[dict[str, Any]], path: Path, fabric: Fabric) -> int:
    """Write every rank's entries to `path`, ordered by image id; returns how many this rank knows of."""
    entries = sorted(entries, key=lambda entry: entry["image_id"])
    if fabric.world_size > 1:
        entries = _merge(entries, path, fabric)
    if fabric.global_rank == 0:
        _write(entries, path)
    fabric.barrier()
    return len(entries)


def _merge(entries: list[dict[str, Any]], path: Path, fabric: Fabric) -> list[dict[str, Any]]:
    """Every rank's entries by way of files beside `path` (they may be too large to send); first rank only."""
    parts = [path.with_name(f".{path.name}.{rank}") for rank in range(fabric.world_size)]
    _write(entries, parts[fabric.global_rank])
    fabric.barrier()
    if fabric.global_rank:
        return entries
    merged = [entry for part in parts for entry in read_json(part)]
    for part in parts:
        part.unlink()
    return sorted(merged, key=lambda entry: entry["image_id"])


def _write(entries: list[dict[str, Any]], path: Path) -> None:
    """A line a detection, atomically."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    write_text(path, f"[{lines}]\n")
