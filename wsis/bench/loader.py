"""`wsis bench loader`: how many training images a core reads a second, a row of each kind.

A kind is a method with a data set, what supervises it, and whether images are jittered. Its first row in the
plan of a scale reads batches as a training does, on one core, without a network. Objects that another run's
masks supervise get the annotated ones, compressed as that run writes them. No decoded image is kept, since
those of a whole data set fit into no cache. Every rate also stands as a multiple of the first kind's.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from wsis.data import loading
from wsis.data.loading import Shard
from wsis.data.places import named_roots
from wsis.data.roots import Root, open_root
from wsis.data.salient import open_salient
from wsis.data.splits import annotation_files
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import SCALE_JITTER
from wsis.errors import WsisError
from wsis.evaluation.rle import truth_rle
from wsis.methods import build_method, info_of
from wsis.nn.backbones import BACKBONES, giving
from wsis.plan import Plan, make_plan


def bench(scale: str, roots: str, images: int, as_json: bool) -> None:
    """Print the rate of a row of each kind of `scale` whose data set is among the user's `roots`."""
    rows = measured(make_plan(scale, seeds=(0,)), named_roots(roots), images)
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    first = next(iter(rows), "")
    table = Table("kind", "run", "images", "images/s a core", f"of {first}")
    for kind, row in rows.items():
        rate, ratio = f"{row['images_per_second']:.1f}", f"{row['ratio']:.2f}"
        table.add_row(kind, row["run"], str(row["images"]), rate, ratio)
    Console().print(table)


def measured(plan: Plan, roots: dict[str, Path], images: int) -> dict[str, dict[str, Any]]:
    """Kind -> run, images read, images_per_second of CPU time and their ratio to the first kind's."""
    rows: dict[str, dict[str, Any]] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for run, kind in kinds(plan).items():
            recipe = plan.runs[run].recipe.settled()
            if kind in rows or recipe.data.dataset not in roots:
                continue
            try:
                count, seconds = _read(recipe, roots, images)
            except WsisError as error:  # another row of the kind may need less
                print(f"{run}: {error}", file=sys.stderr, flush=True)
                continue
            rate = count / seconds
            first = next(iter(rows.values()))["images_per_second"] if rows else rate
            rows[kind] = {"run": run, "images": count, "images_per_second": rate, "ratio": rate / first}
    finally:
        torch.set_num_threads(threads)
    if not rows:
        raise WsisError(
            f"no row of {plan.scale.name} trains on {', '.join(roots) or 'nothing'}: give its root"
        )
    return rows


def kinds(plan: Plan) -> dict[str, str]:
    """Run that trains -> its kind; those supervised by boxes alone come first."""
    runs: dict[str, str] = {}
    for run in sorted(plan.runs.values(), key=lambda run: run.recipe.data.supervision != "boxes"):
        recipe = run.recipe
        if run.iterations:
            kind = f"{recipe.method} {recipe.data.dataset} {recipe.data.supervision}"
            kind += " instances" if recipe.proxy and recipe.proxy.instances else ""
            runs[run.id] = kind + (" jittered" if recipe.data.augment == SCALE_JITTER else "")
    return runs


def _read(recipe: Recipe, roots: dict[str, Path], images: int) -> tuple[int, float]:
    """Images or patches read after a first batch, and their CPU seconds."""
    recipe = _light(recipe, roots)
    root = _opened(recipe, roots[recipe.data.dataset])
    salient = open_salient(roots["salient"]) if "salient" in roots else None
    if recipe.data.supervision == "boxes+salient" and salient is None:
        raise WsisError(f"{recipe.method} also reads salient images: add salient=PATH to --data-root")
    limit, loading.CACHE_BYTES = loading.CACHE_BYTES, 0
    try:
        stream = build_method(recipe, root.num_classes).stream(root, salient, Shard())
        next(stream)
        count, start = 0, time.process_time()
        while count < images:
            next(stream)
            count += recipe.schedule.batch
        return count, time.process_time() - start
    finally:
        loading.CACHE_BYTES = limit


def _light(recipe: Recipe, roots: dict[str, Path]) -> Recipe:
    """The recipe with a network that takes no time to build, and a training split that is there."""
    tree = recipe.model_dump(mode="json")
    backbone = BACKBONES[recipe.model.backbone]
    taken = {*(info_of(recipe.method).features or ("pyramid",))} & {*backbone.build}
    tiny = next(name for name in giving(taken) if name.startswith("tiny"))
    tree["model"] |= {"backbone": tiny, "weights": "none"}
    tree["init"] = None
    path, data = roots[recipe.data.dataset], tree["data"]
    for split in (data["train"], "train", "val"):
        if annotation_files(path, data["dataset"], split)[0].exists():
            data["train"] = split
            break
    return Recipe.model_validate_json(json.dumps(tree))


def _opened(recipe: Recipe, path: Path) -> Root:
    """The root; where another run supervises, with the annotated masks in place of that run's."""
    root = open_root(recipe, path)
    if recipe.proxy is None:
        return root
    entries: dict[int, Any] = {}
    for picture in root.with_masks(recipe.data.train):
        objects = [i for i in picture.instances if not i.crowd]
        rles = [_text(truth_rle(i.segmentation, (picture.height, picture.width))) for i in objects]
        if recipe.proxy.instances:
            boxes = [(x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in (i.box for i in objects)]
            entries[picture.id] = [
                {"annotation_id": i.id, "category_id": root.category_ids[i.label], "bbox": box, "rle": rle}
                for i, box, rle in zip(objects, boxes, rles, strict=True)
            ]
        else:
            entries |= {i.id: rle for i, rle in zip(objects, rles, strict=True)}
    return open_root(recipe, path, entries)


def _text(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle["counts"]
    return {"size": list(rle["size"]), "counts": counts.decode() if isinstance(counts, bytes) else counts}
