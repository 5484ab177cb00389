"""The folder of a run's proxy masks, and what a network that learns them gets.

<run>/proxies/<rank>-of-<world>.jsonl.gz hold the raw masks (wsis.proxy.generate), a file a process. Merging
and dropping are applied when they are read, so that rows which differ in those share them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.checksums import checksum_file, fault
from wsis.declare.specs.parents import ProxySpec
from wsis.declare.stored import weights_file
from wsis.errors import WsisError
from wsis.files import digest
from wsis.proxy.annotations import proxy_masks, rules_of
from wsis.proxy.generate import read_head, read_proxies


def file_of(run: Path, rank: int, world: int) -> Path:
    """Where a process writes its share of the masks of the run in folder `run`."""
    return run / "proxies" / f"{rank}-of-{world}.jsonl.gz"


def proxy_files(run: Path) -> list[Path]:
    """The files that the run's weights made; empty where one of a process is missing or changed."""
    paths = sorted((run / "proxies").glob("*-of-*.jsonl.gz"))
    if not paths or not weights_file(run).exists():
        return []
    weights = digest(weights_file(run))
    for world in sorted({int(path.name.split("-of-")[1].split(".")[0]) for path in paths}):
        files = [file_of(run, rank, world) for rank in range(world)]
        if all(_made_by(path) == weights for path in files):
            return files
    return []


def _made_by(path: Path) -> str | None:
    """Digest of the weights that made a file; None where it is missing, changed or of another version."""
    if fault(path, whole=False):
        return None
    try:
        return read_head(path)["made_by"]["weights"]
    except (WsisError, KeyError, TypeError):
        return None


def remove_others(run: Path, world: int) -> None:
    """Remove files of other weights or of another number of processes than `world`."""
    keep = {file_of(run, rank, world) for rank in range(world)}
    keep |= {checksum_file(path) for path in keep}
    for path in (run / "proxies").iterdir():
        if path not in keep:
            path.unlink(missing_ok=True)


def load_proxies(run: Path, spec: ProxySpec, seed: int) -> tuple[dict[int, Any], dict[str, Any]]:
    """Annotation id -> mask after merging, without the dropped ones; and what train.json says of them.

    With spec.instances: image id -> its objects, as they were written (wsis.proxy.generate).
    run: folder of the run that made them. Raises WsisError where they are not there, and where there is not
    a single instance.
    """
    files = proxy_files(run)
    if not files:
        raise WsisError(f"{run / 'proxies'}: no proxy masks; train {run.name} first (it makes them)")
    weights = read_head(files[0])["made_by"]["weights"]
    if spec.instances:
        objects = {image["image_id"]: image["objects"] for image in read_proxies(*files)}
        if not any(objects.values()):
            raise WsisError(
                f"{run / 'proxies'}: no instance in any of {len(objects)} training images, so that there is"
                f" nothing to learn: look at what {run.name} predicts"
            )
        count = sum(map(len, objects.values()))
        return objects, {"weights": weights, "images": len(objects), "objects": count}
    masks, stats = proxy_masks(read_proxies(*files), spec, seed)
    return masks, {"weights": weights, "rules": rules_of(spec, seed), **stats}
