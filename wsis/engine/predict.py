"""Predictions of a trained method as COCO results."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from wsis.checksums import remove, sealed, verify
from wsis.data.loading import groups
from wsis.data.roots import Root
from wsis.data.shared import samples_key, shared_samples
from wsis.data.structures import Instances, Sample
from wsis.engine.together import stop_together
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.growing import growing
from wsis.methods.base import Method
from wsis.methods.fill import filled
from wsis.progress import Progress
from wsis.signals import StopRequest


def predict(
    method: Method,
    root: Root,
    path: Path,
    fabric: Fabric,
    show: bool = True,
    made_by: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write predictions.json of the evaluation images: detections, or a mask for every annotated box.

    made_by: JSON content that tells the weights. With it, a process that is stopped leaves what it has
    predicted, and one that is made by the same goes on from there.
    Returns what train.json says of what was chosen before (`Method.calibrate`). Raises Interrupted after
    SIGTERM or SIGUSR1.
    """
    rank, world, recipe = fabric.global_rank, fabric.world_size, method.recipe
    told = method.to(fabric.device).calibrate(root)
    images = len(range(rank, len(root.eval), world))
    head = {
        "made_by": made_by or time.time_ns(),
        "share": f"{rank} of {world}",
        "data": root.eval_fingerprint,
    }
    head["chosen"] = method.chosen()
    entries: list[dict[str, Any]] = []
    done = 0
    with growing(_part(path, rank), json.loads(json.dumps(head))) as part, StopRequest() as stop:
        for line in part.held():
            done += line["images"]
            entries += line["entries"]
        samples = method.samples(root, rank + done * world, world)
        if world == 1:
            samples = shared_samples(samples_key(recipe, root, recipe.data.eval), samples)
        with Progress(f"{recipe.id}: images", images, done, show and rank == 0) as progress:
            for group, found in predicted_groups(method, samples, fabric.device):
                results = zip(group, found, strict=True)
                new = [entry for result in results for entry in coco_results(*result, root.category_ids)]
                part.add({"images": len(group), "entries": new})
                done += len(group)
                entries += new
                progress.update(done)
                if stop.signal:
                    break
    stop_together(fabric, stop.signal, f"{recipe.id}: stopped after predicting {done} of {images} images")
    _finish(method, entries, path, fabric)
    if rank == 0:
        for left in path.parent.glob(_part(path, "*").name):
            left.unlink()
    return told


def predict_samples(
    method: Method,
    samples: Iterable[Sample],
    category_ids: Sequence[int],
    path: Path,
    fabric: Fabric,
    progress: Progress,
    given: bool = False,
) -> int:
    """Predict `samples` (this rank's share) and write predictions.json to `path`; returns the instances.

    The file is a list of {"image_id", "category_id", "score" (6 decimals), "segmentation": {"size": [h, w],
    "counts": str}}, ordered by image id, best first within an image, whatever the number of ranks. Masks of
    annotated objects have "annotation_id", too, and their order.
    category_ids: category id of each contiguous label.
    given: the samples have boxes, whose masks are wanted (`Method.fill`).
    Raises WsisError naming the image whose score is not finite.
    """
    entries: list[dict[str, Any]] = []
    for done, (sample, instances) in enumerate(predicted(method, samples, fabric.device, given), 1):
        entries += coco_results(sample, instances, category_ids)
        progress.update(done)
    return _finish(method, entries, path, fabric)


@torch.no_grad()
def predicted_groups(
    method: Method, samples: Iterable[Sample], device: torch.device, given: bool = False
) -> Iterator[tuple[list[Sample], list[Instances]]]:
    """Samples as the network gets them at once, with the instances of each; given: the masks of its boxes."""
    method.to(device)
    method.eval()
    for group in groups(samples, device):
        results = filled(method, group) if given else method.predict(group)
        if len(results) != len(group):
            raise ValueError(f"predict gave {len(results)} results for {len(group)} images")
        yield group, results


def predicted(
    method: Method, samples: Iterable[Sample], device: torch.device, given: bool = False
) -> Iterator[tuple[Sample, Instances]]:
    """Each sample with its instances; given: with the masks of its boxes."""
    for group, results in predicted_groups(method, samples, device, given):
        yield from zip(group, results, strict=True)


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
    if instances.annotation_ids is not None:
        for entry, number in zip(entries, instances.annotation_ids, strict=True):
            entry["annotation_id"] = number
    return entries


def _finish(method: Method, entries: list[dict[str, Any]], path: Path, fabric: Fabric) -> int:
    """Write predictions.json of every rank's entries; returns how many there are on the first one."""
    if text := method.remark():
        print(f"{method.recipe.id}: {text}", file=sys.stderr, flush=True)
    entries.sort(key=lambda entry: entry["image_id"])
    parts = [path.with_name(f".{path.name}.{rank}") for rank in range(fabric.world_size)]
    if fabric.world_size > 1:
        entries = _merge(entries, parts, fabric)
    if fabric.global_rank == 0:
        _write(entries, path)
        for part in parts:
            remove(part)
    fabric.barrier()
    return len(entries)


def _part(path: Path, rank: int | str) -> Path:
    """Where a rank keeps what it has predicted until all is there."""
    return path.with_name(f".{path.name}.{rank}.part")


def _merge(entries: list[dict[str, Any]], parts: Sequence[Path], fabric: Fabric) -> list[dict[str, Any]]:
    """Every rank's entries by way of the files `parts` (they may be too large to send); first rank only."""
    _write(entries, parts[fabric.global_rank])
    fabric.barrier()
    if fabric.global_rank:
        return entries
    for part in parts:
        verify(part)
    merged = [entry for part in parts for entry in read_json(part)]
    return sorted(merged, key=lambda entry: entry["image_id"])


def _write(entries: list[dict[str, Any]], path: Path) -> None:
    """A line a detection, with a checksum."""
    lines = ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries)
    with sealed(path) as file:
        file.write(f"[{lines}]\n".encode())
