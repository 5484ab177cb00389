"""Proxy masks between two runs: a network's masks of its training objects, what a Mask R-CNN gets of them.

<run>/proxies/<rank>-of-<world>.jsonl.gz hold the raw masks (wsis.proxy.generate), a file a process. Merging
and dropping are applied when they are read, so that rows which differ in those share them. BoxCaseg fills the
annotated boxes; BAISeg knows none, and its instances have ids, boxes and classes of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from wsis.data.roots import Picture, Root
from wsis.declare.recipe import ProxySpec
from wsis.engine.checkpoint import digest
from wsis.engine.fill import filled
from wsis.engine.shared import samples_key, shared_samples
from wsis.errors import WsisError
from wsis.methods.baiseg.batches import training_samples
from wsis.methods.boxcaseg.patches import object_samples
from wsis.proxy.annotations import ProxyRules, proxy_masks
from wsis.proxy.generate import read_head, read_proxies, write_proxies

IDS = 100_000  # instances of an image that can have ids of their own


def proxy_files(folder: Path) -> list[Path]:
    """The run's files, made by the weights in its model.pt; empty when one is missing."""
    found = sorted((folder / "proxies").glob("*-of-*.jsonl.gz"))
    if not found or not (folder / "model.pt").exists():
        return []
    weights = digest(folder / "model.pt")
    for world in sorted({int(path.name.split("-of-")[1].split(".")[0]) for path in found}):
        files = [folder / "proxies" / f"{rank}-of-{world}.jsonl.gz" for rank in range(world)]
        if all(_made_by(path) == weights for path in files):
            return files
    return []


def _made_by(path: Path) -> str | None:
    """Digest of the weights that made a file; None where it is missing, unreadable or of another version."""
    try:
        return read_head(path)["made_by"]["weights"]
    except (WsisError, KeyError):
        return None


def proxies_complete(folder: Path) -> bool:
    """Whether the masks of every training object are there, of the present weights."""
    return bool(proxy_files(folder))


def make_proxies(method: nn.Module, root: Root, folder: Path, fabric: Fabric, show: bool = True) -> None:
    """Write this process's share of the training images' masks; goes on where an earlier try stopped."""
    rank, world = fabric.global_rank, fabric.world_size
    mine = root.train[rank::world]
    pictures = {picture.id: picture for picture in mine}
    method.to(fabric.device)
    method.eval()

    def images(ids: Sequence[int]) -> Iterator[dict[str, Any]]:
        left = [pictures[id] for id in ids]
        made = _filled if hasattr(method, "fill") else _extracted
        for picture, objects in made(method, left, root):
            yield {
                "image_id": picture.id,
                "file_name": picture.path.name,
                "height": picture.height,
                "width": picture.width,
                "objects": objects,
            }

    path = folder / "proxies" / f"{rank}-of-{world}.jsonl.gz"
    made_by = {"run": folder.name, "weights": digest(folder / "model.pt")}
    if hasattr(method, "threshold"):  # chosen on images that the weights don't depend on
        made_by["threshold"] = method.threshold
    write_proxies(path, [p.id for p in mine], images, made_by, f"{folder.name} proxies", show and rank == 0)
    fabric.barrier()
    if rank == 0:
        keep = {f"{rank}-of-{world}.jsonl.gz" for rank in range(world)}
        for old in (folder / "proxies").iterdir():  # of other weights or another number of processes
            if old.name not in keep:
                old.unlink(missing_ok=True)


def _filled(
    method: nn.Module, pictures: Sequence[Picture], root: Root
) -> Iterator[tuple[Picture, list[dict[str, Any]]]]:
    """Each picture with the masks of its annotated boxes."""
    samples = object_samples(pictures)
    samples = shared_samples(samples_key(method.recipe, root, method.recipe.data.train), samples)
    for picture, entries in filled(method, pictures, samples, root.category_ids):
        boxes = {i.id: i.box for i in picture.instances}
        yield picture, [_object(entry, boxes[entry["annotation_id"]]) for entry in entries]


def _extracted(
    method: nn.Module, pictures: Sequence[Picture], root: Root
) -> Iterator[tuple[Picture, list[dict[str, Any]]]]:
    """Each picture with the instances that the network's boundaries make of its training semantic map."""
    for picture, sample in training_samples(method.recipe, root, pictures):
        objects = []
        for number, e in enumerate(method.extracted(method.maps([sample])[0])):
            entry = {
                "annotation_id": picture.id * IDS + number,
                "category_id": root.category_ids[e.label],
                "segmentation": e.mask,
                "score": e.score,
            }
            objects.append(_object(entry, e.box))
        yield picture, objects


def _object(entry: dict[str, Any], box: tuple[float, float, float, float]) -> dict[str, Any]:
    x0, y0, x1, y1 = box
    return {
        "annotation_id": entry["annotation_id"],
        "category_id": entry["category_id"],
        "bbox": [x0, y0, max(x1 - x0, 0.0), max(y1 - y0, 0.0)],
        "rle": entry["segmentation"],
        "certainty": entry["score"],
    }


def load_proxies(folder: Path, spec: ProxySpec, seed: int) -> tuple[dict[int, Any], dict[str, Any]]:
    """Annotation id -> mask after merging, without the dropped ones; and what train.json says of them.

    With spec.instances: image id -> its objects, as they were written (wsis.proxy.generate).
    folder: of the run that made them. Raises WsisError where they are not there, and where BAISeg found no
    instance at all.
    """
    files = proxy_files(folder)
    if not files:
        raise WsisError(f"{folder / 'proxies'}: no proxy masks; train {folder.name} first (it makes them)")
    weights = read_head(files[0])["made_by"]["weights"]
    if spec.instances:
        found = {image["image_id"]: image["objects"] for image in read_proxies(*files)}
        if not any(found.values()):
            raise WsisError(
                f"{folder / 'proxies'}: no instance in any of {len(found)} training images, so that there is"
                f" nothing to learn: look at {folder.name}'s boundary maps, or set a lower baiseg.min_area"
            )
        return found, {"weights": weights, "images": len(found), "objects": sum(map(len, found.values()))}
    rules = ProxyRules(spec.merge, spec.order, spec.drop, spec.agreement, seed)
    masks, stats = proxy_masks(read_proxies(*files), rules)
    return masks, {"weights": weights, "rules": asdict(rules), **stats}
