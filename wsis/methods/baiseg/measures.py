"""What `wsis boundary-quality` does: where the boundary maps of BAISeg's rows answer, on evaluation images.

A trained run draws the boundary maps that its instances were extracted from. What is there is told by masks
that no training has seen, and on drawn images by the texture edges that were drawn.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wsis.data.places import Roots, run_root
from wsis.declare.table import BOUNDARY_MEASURES
from wsis.errors import WsisError
from wsis.measures.file import write_measured
from wsis.plan import Plan
from wsis.provenance import boundary_hash

METHOD = "baiseg"


def boundary_runs(plan: Plan, tables: Iterable[str]) -> list[str]:
    """The runs of BAISeg's in those of `tables` (keys) that have such measures."""
    shown = [key for key in tables if {*plan.tables[key].measures} & {*BOUNDARY_MEASURES}]
    rows = [plan.row_runs(key, row.label) for key in shown for row in plan.tables[key].rows]
    runs = dict.fromkeys(run for row in rows for run in row.values())
    return [run for run in runs if plan.runs[run].recipe.method == METHOD]


def measure_boundaries(
    plan: Plan, ids: Sequence[str], results: Path, data_root: Roots, accelerator: str | None = None
) -> list[Path]:
    """results/<scale>/boundary/<id>.json of each run `ids`; returns the paths.

    accelerator: None takes a graphics card where there is one. Raises WsisError for an id that is no run of
    BAISeg's, and for one that isn't trained, has no predictions or was trained on other data.
    """
    import torch

    from wsis.data.roots import open_root
    from wsis.engine.run import lease_devices
    from wsis.jobs import same_data
    from wsis.methods.baiseg.boundary_quality import boundary_maps, measured

    scale = plan.scale.name
    there = [run.id for run in plan.runs.values() if run.recipe.method == METHOD]
    for id in ids:  # before any work
        if id not in there:
            runs = ", ".join(there) or "none"
            raise WsisError(f"{id}: no run of BAISeg at {scale} with these seeds (such runs: {runs})")
    code = boundary_hash()
    accelerator = accelerator or ("cuda" if torch.cuda.is_available() else "cpu")
    paths = []
    for id in ids:
        start = time.monotonic()
        recipe, folder = plan.runs[id].recipe.settled(), results / scale / "runs" / id
        train = folder / "train.json"
        if not train.exists():
            raise WsisError(f"{train}: no such file; train {id} first")
        root = open_root(recipe, run_root(recipe, results, scale, data_root))
        same_data(folder, root)
        with lease_devices(accelerator, 1) as (card,):
            device = torch.device("cpu" if accelerator == "cpu" else f"cuda:{card}")
            drawn = boundary_maps(recipe, root, folder / "model.pt", device)
            content = measured(recipe, root, folder / "predictions.json", results / scale / "data", drawn)
        paths.append(write_measured(results / scale, "boundary", id, content, code, root))
        _show(paths[-1], content, time.monotonic() - start)
    return paths


def _show(path: Path, content: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from wsis.measures.words import readable

    table = Table("measure", "per cent")
    for name, value in content["measures"].items():
        table.add_row(readable(name), "" if value is None else f"{value:.1f}")
    Console(width=max(Console().width, 80)).print(table)
    pixels = ", ".join(f"{count} {name}" for name, count in content["pixels"].items())
    print(
        f"{content['pairs']} pairs in contact among {content['objects']} objects in {content['images']}"
        f" images; pixels: {pixels}; {seconds:.0f} s: {path}"
    )
