"""What `wsis pseudo` does: the pseudo-mask quality of SIM's rows at the warm-up that they continue."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis.data.places import Roots, run_root
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.measures.file import write_measured
from wsis.plan import Plan
from wsis.provenance import pseudo_hash

if TYPE_CHECKING:
    from torch import nn

    from wsis.data.roots import Root
    from wsis.data.structures import Batch

BATCHES = 25  # training batches that the prototypes are estimated from


def warmups(plan: Plan) -> dict[str, list[str]]:
    """Every warm-up that rows of SIM continue, and those rows' run ids."""
    found: dict[str, list[str]] = {}
    for run in plan.runs.values():
        init = run.recipe.init
        if run.recipe.method == "sim" and init is not None and init.iteration is not None:
            found.setdefault(init.parent, []).append(run.id)
    return found


def measure_pseudo(
    plan: Plan,
    ids: Sequence[str],
    results: Path,
    data_root: Roots,
    batches: int = BATCHES,
    accelerator: str | None = None,
) -> list[Path]:
    """results/<scale>/pseudo/<id>.json of each warm-up `ids`; returns the paths.

    batches: any other number than BATCHES is a measurement for oneself, which a report does not show.
    accelerator: None takes a graphics card where there is one. Raises WsisError for an id that isn't a
    warm-up of SIM's, and for one that isn't trained or was trained on other data.
    """
    import torch

    from wsis.data.roots import open_root
    from wsis.engine.run import lease_devices
    from wsis.jobs import same_data

    scale, rows, code = plan.scale.name, warmups(plan), pseudo_hash()
    for id in ids:  # before any work
        if id not in rows:
            there = ", ".join(rows) or "none"
            raise WsisError(f"{id}: no row of SIM at {scale} continues this run (such warm-ups: {there})")
    accelerator = accelerator or ("cuda" if torch.cuda.is_available() else "cpu")
    paths = []
    for id in ids:
        start = time.monotonic()
        recipes = {row: plan.runs[row].recipe.settled() for row in rows[id]}
        recipe = next(iter(recipes.values()))
        root = open_root(recipe, run_root(recipe, results, scale, data_root))
        folder = results / scale / "runs" / id
        same_data(folder, root)
        with lease_devices(accelerator, 1) as (card,):
            device = torch.device("cpu" if accelerator == "cpu" else f"cuda:{card}")
            content = _measured(recipes, root, folder / "model.pt", batches, device)
        paths.append(write_measured(results / scale, "pseudo", id, content, code, root))
        _show(plan, paths[-1], content, time.monotonic() - start)
    return paths


def _measured(
    recipes: dict[str, Recipe], root: Root, weights: Path, batches: int, device: Any
) -> dict[str, Any]:
    from wsis.data.loading import Shard, train_batches
    from wsis.methods.sim.quality import measure

    recipe = next(iter(recipes.values()))
    parts = recipe.schedule.devices if recipe.schedule.batch % recipe.schedule.devices == 0 else 1
    stream = train_batches(recipe, root, Shard(recipe.init.iteration, micro=parts))
    return measure(
        warm_method(recipe, root.num_classes, weights).to(device),
        {row: found.sim for row, found in recipes.items()},
        ([part.to(device) for part in step] for step in islice(stream, batches)),
        (batch.to(device) for batch in evaluation_batches(recipe, root)),
        recipe.seed,
    )


def warm_method(recipe: Recipe, num_classes: int, weights: Path) -> nn.Module:
    """SIM with a warm-up's weights in both its networks, whatever the row's momentum network does later."""
    from wsis.methods import build_method
    from wsis.methods.weights import init_from_parent

    spec = recipe.sim.model_copy(update={"momentum": "copy"})
    method = build_method(recipe.model_copy(update={"sim": spec}), num_classes).eval()
    init_from_parent(method, weights)
    method.momentum.follow(method, 0.0)
    return method


def evaluation_batches(recipe: Recipe, root: Root) -> Iterator[Batch]:
    """The evaluation images that have objects, with boxes and masks, as large as in inference.

    Crowd regions are left out, and objects that are under a pixel at that size.
    """
    from wsis.data.loading import MAX_IMAGES, MAX_PIXELS, annotated, collate
    from wsis.data.transforms import network_size, padded, read_image, resize
    from wsis.pictures.subject import pictures_with_masks

    views, scales, numbers = [], [], []
    tall = wide = 0
    for picture in pictures_with_masks(recipe, root):
        h, w = picture.height, picture.width
        size = network_size(h, w, recipe.data.eval_short_side, recipe.data.max_side)
        tall, wide = max(tall, padded(size[0])), max(wide, padded(size[1]))
        if views and (len(views) == MAX_IMAGES or (len(views) + 1) * tall * wide > MAX_PIXELS):
            yield collate(views, scales, numbers)
            views, scales, numbers = [], [], []
            tall, wide = padded(size[0]), padded(size[1])
        views.append(resize(annotated(read_image(picture.path, h, w), picture, hidden=False), *size[:2]))
        scales.append(size[2])
        numbers.append(picture.id)
    if views:
        yield collate(views, scales, numbers)


def _show(plan: Plan, path: Path, content: dict[str, Any], seconds: float) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = [("semantic", "AUC"), ("instance", "IoU"), ("instance", "AUC")]
    columns += [("pseudo", name) for name in ("IoU", "best", "AUC", "cover", "acc")]
    table = Table("rows")
    for kind, name in columns:
        table.add_column(f"{kind}\n{name}", justify="right", no_wrap=True)
    for run, maps in content["runs"].items():
        values = [maps[kind]["all"][name] for kind, name in columns]
        rows = ", ".join(f"{key} '{label}'" for key, label in plan.runs[run].rows)
        table.add_row(rows, *("" if value is None else f"{value:.1f}" for value in values))
    Console(width=max(Console().width, 120)).print(table)
    print(
        f"{content['objects']} objects in {content['images']} images, {content['overlapping']} beside one of"
        f" their class, {content['uncovered']} without a positive location; {seconds:.0f} s: {path}"
    )
