"""What a run's folder says once the run is over; what nobody needs any more goes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from wsis.card import write_card
from wsis.checksums import seal, seal_left
from wsis.data.official_sizes import official
from wsis.data.roots import Root, told_of
from wsis.declare.stored import weights_file
from wsis.engine.checkpoint import PREVIOUS
from wsis.engine.environment import environment
from wsis.engine.folder import COPY, FEATURES
from wsis.engine.job import Job
from wsis.files import checksum_file, digest
from wsis.finished import PREDICTIONS
from wsis.methods.base import Method
from wsis.methods.weights import OPTIMIZER
from wsis.proxy.folder import proxy_files
from wsis.records import write_record


def finish(
    job: Job, summary: dict[str, Any], root: Root, device: torch.device, code: str, taught: dict | None
) -> None:
    """Write what describes a run that is over, and remove what nobody needs any more.

    summary: what `train` and the predictions returned; code: `code_hash` of what trained
    taught: what `load_proxies` says of the masks that it learnt
    """
    write_record(job.folder / "environment.json", {"run": job.recipe.id, **environment(device)})
    seal(job.folder / "log.jsonl")
    data = told_of(root)
    content = {
        **{"recipe": job.recipe.id, "scale": job.scale, **summary},
        "code": code,
        "weights": digest(weights_file(job.folder)),
        "deviations": [*job.deviations, *summary["deviations"], *_odd_data(root, taught)],
        "data": data,
    }
    if job.predicts:
        content["predictions"] = digest(job.folder / PREDICTIONS)
    if job.parent is not None:
        content["parent"] = {"id": job.parent.parent.name, "weights": digest(job.parent)}
    if (salient := job.open_salient()) is not None:
        data |= {"salient_images": len(salient), "salient_fingerprint": salient.fingerprint}
    if taught is not None:
        content["proxy"] = {"id": job.origin.name, **taught}
    goes_on = "ended" in summary
    seal_left([weights_file(job.folder), job.folder / OPTIMIZER, *proxy_files(job.folder)])
    seal_left((job.folder / COPY).parent.glob("*.json"))
    _clear((job.folder / COPY).parent, goes_on)  # nobody comes back to a run that has its train.json
    if not goes_on:
        write_record(job.folder / COPY, content)
    write_card(job.folder, content)
    write_record(job.folder / "train.json", content)


def _clear(checkpoints: Path, goes_on: bool) -> None:
    """Remove what nobody needs any more: of a training that may go on, what can be computed again."""
    kept = [checkpoints / name for name in (COPY.name, "trained.json", "origin.json")]
    kept += [checksum_file(path) for path in kept]
    gone = [checkpoints / name for name in (FEATURES, PREVIOUS)]
    gone += [checksum_file(path) for path in gone]
    for path in checkpoints.glob("*"):
        if goes_on and path not in gone:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in kept:
            path.unlink(missing_ok=True)


def normalisation(method: Method) -> dict[str, Any] | None:
    """What a network takes off its pixels (0 to 255) and divides them by; None where it does neither so."""
    for module in method.modules():
        buffers = dict(module.named_buffers(recurse=False))
        if {"mean", "std"} <= buffers.keys():
            values = {
                name: [round(x, 4) for x in buffers[name].flatten().tolist()] for name in ("mean", "std")
            }
            return {"order": "RGB", **values}
    return None


def _odd_data(root: Root, taught: dict[str, Any] | None) -> list[str]:
    """Deviations of the data: splits without the official number of images, and no proxy mask to learn.

    Without one, a Mask R-CNN's AP is that of an untrained mask head.
    """
    deviations = [
        f"data: {split} has {listed} images, the official split {expected}"
        for split, (listed, expected, same) in official(root).items()
        if not same
    ]
    if taught is not None and taught.get("kept") == 0:  # detected instances are never dropped
        text = f"all {taught['objects']} proxy masks were dropped: boxes were learnt, masks not at all"
        deviations.append(text)
    return deviations
