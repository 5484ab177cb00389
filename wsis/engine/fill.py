"""Masks of given boxes: one for every annotated object of an image, as COCO results with `annotation_id`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from wsis.data.roots import Picture
from wsis.data.structures import BoxSample
from wsis.engine.predict import groups, save_entries
from wsis.engine.progress import Progress


def predict_objects(
    method: nn.Module,
    samples: Iterable[BoxSample],
    category_ids: Sequence[int],
    path: Path,
    fabric: Fabric,
    title: str = "predict",
    total: int = 0,
    show: bool = True,
) -> int:
    """Fill the boxes of `samples` (this rank's share) and write predictions.json; returns the masks.

    As `wsis.engine.predict.predict_run`; each entry also has `annotation_id`, and its score is the mask's
    certainty, which the class-agnostic protocol does not read. The method may have `remark()`: what there is
    to say about the masks it made, or ''.
    """
    method.to(fabric.device)
    method.eval()
    rank, world = fabric.global_rank, fabric.world_size
    entries: list[dict[str, Any]] = []
    done = 0
    with Progress(f"{title}: images", total // world, 0, show and rank == 0) as progress:
        for group in groups(samples):
            entries += [entry for own in _entries(method, group, category_ids) for entry in own]
            done += len(group)
            progress.update(done)
    if hasattr(method, "remark") and (text := method.remark()):
        print(f"{title}: {text}", file=sys.stderr, flush=True)
    return save_entries(entries, path, fabric)


def filled(
    method: nn.Module,
    pictures: Sequence[Picture],
    samples: Iterable[BoxSample],
    category_ids: Sequence[int],
) -> Iterator[tuple[Picture, list[dict[str, Any]]]]:
    """Each picture with the entries of its objects; the network is in evaluation mode on its device.

    samples: of the pictures (`wsis.methods.boxcaseg.patches.object_samples`)
    """
    left = iter(pictures)
    for group in groups(samples):
        for own in _entries(method, group, category_ids):
            yield next(left), own


@torch.no_grad()
def _entries(
    method: nn.Module, samples: Sequence[BoxSample], category_ids: Sequence[int]
) -> Iterator[list[dict[str, Any]]]:
    for sample, masks in zip(samples, method.fill(samples), strict=True):
        yield [
            {
                "image_id": sample.id,
                "category_id": category_ids[label],
                "score": round(mask.certainty, 6),
                "segmentation": {
                    "size": list(mask.rle["size"]),
                    "counts": mask.rle["counts"].decode("ascii"),
                },
                "annotation_id": number,
            }
            for number, label, mask in zip(sample.annotation_ids, sample.labels.tolist(), masks, strict=True)
        ]
