"""What `wsis proxy-quality` does: how good the proxy masks are that rows learn from, by evaluation images.

A trained first stage, or a baseline, has filled the boxes of the evaluation images, as it fills those of
the training images that a Mask R-CNN learns from; here there are true masks to compare with. No network runs.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsis.data.places import Roots, run_root
from wsis.declare.recipe import ProxySpec, Recipe
from wsis.errors import WsisError
from wsis.measures.file import write_measured
from wsis.plan import BASELINES, Plan
from wsis.provenance import proxy_hash


def rules_of(recipe: Recipe) -> ProxySpec | None:
    """Whose masks of given boxes a row is about, and how they are merged and dropped; None for no such row.

    A baseline's masks stay as they are: no Mask R-CNN learns them.
    """
    if recipe.method in BASELINES:
        return ProxySpec(parent=recipe.id, merge=False, drop=None)
    return None if recipe.proxy is None or recipe.proxy.instances else recipe.proxy


def proxy_specs(plan: Plan) -> dict[str, list[ProxySpec]]:
    """Every run that makes masks of given boxes for rows, and the ways in which they merge and drop them."""
    found: dict[str, list[ProxySpec]] = {}
    for run in plan.runs.values():
        if (spec := rules_of(run.recipe)) is not None:
            specs = found.setdefault(spec.parent, [])
            specs += [spec] if spec not in specs else []
    return found


def measure_proxies(plan: Plan, ids: Sequence[str], results: Path, data_root: Roots) -> list[Path]:
    """results/<scale>/proxy/<id>.json of each first stage `ids`; returns the paths.

    Raises WsisError for an id whose masks no row learns and that is no baseline, for one that isn't trained
    or was trained on other data, and where objects of the evaluation images have no mask.
    """
    from wsis.data.roots import eval_annotations, eval_image_ids, open_root
    from wsis.evaluation.guard import read_truth
    from wsis.jobs import same_data
    from wsis.methods.boxcaseg.proxy_quality import predicted_images, proxy_quality
    from wsis.methods.boxcaseg.proxy_rows import row_quality

    scale, specs, code = plan.scale.name, proxy_specs(plan), proxy_hash()
    for id in ids:  # before any work
        if id not in specs:
            there = ", ".join(specs) or "none"
            raise WsisError(f"{id}: no row at {scale} learns masks of this run (such runs: {there})")
    paths = []
    for id in ids:
        start = time.monotonic()
        recipe, folder = plan.runs[id].recipe, results / scale / "runs" / id
        train = folder / "train.json"
        if not train.exists():
            raise WsisError(f"{train}: no such file; train {id} first")
        root = open_root(recipe, run_root(recipe, results, scale, data_root))
        same_data(folder, root)
        annotations = eval_annotations(root, results / scale / "data")
        images, truth = predicted_images(folder / "predictions.json", annotations)
        chosen = {*eval_image_ids(recipe, root)}
        objects = (entry for entry in read_truth(annotations).annotations if entry["image_id"] in chosen)
        made = {entry["annotation_id"] for image in images for entry in image["objects"]}
        if missing := sorted(
            entry["id"] for entry in objects if not entry["iscrowd"] and entry["id"] not in made
        ):
            raise WsisError(
                f"{folder / 'predictions.json'}: no mask for {len(missing)} objects, the first with id"
                f" {missing[0]}; train {id} again"
            )
        content = {
            "images": len(chosen),
            **proxy_quality(images, truth, recipe.seed, drawn=root.dataset == "shapes"),
            "settings": row_quality(images, truth, specs[id], recipe.seed),
        }
        paths.append(write_measured(results / scale, "proxy", id, content, code, root))
        _show(paths[-1], content, time.monotonic() - start)
    return paths


def _show(path: Path, content: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("order, threshold", "mIoU", "kept: mIoU", "IoU@75", "dropped", "kept (+1): mIoU", "dropped")
    for name, scores in content["settings"].items():
        exact, biased = scores["kept"]["exact"], scores["kept"]["plus_one"]
        shares = [None if part["drop_rate"] is None else 100 * part["drop_rate"] for part in (exact, biased)]
        values = [
            scores["merged"]["mIoU"],
            exact["mIoU"],
            exact["IoU75"],
            shares[0],
            biased["mIoU"],
            shares[1],
        ]
        table.add_row(name, *("" if value is None else f"{value:.1f}" for value in values))
    console = Console(width=max(Console().width, 100))
    console.print(table)
    if content["front"] is not None:
        orders = content["merge"]
        fronts = Table("box in front", "images", "objects", *(f"mIoU, {order}" for order in orders))
        for name, group in content["front"].items():
            means = [group["merge"][order]["mIoU"] for order in orders]
            numbers = ("" if value is None else f"{value:.1f}" for value in means)
            fronts.add_row(name, str(group["images"]), str(group["objects"]), *numbers)
        console.print(fronts)
    print(f"{content['objects']} objects in {content['images']} images; {seconds:.0f} s: {path}")
