"""What a method's training reads, and what a finished network is asked for: by the kind of its batches.

Detectors take whole images and predict instances; BoxCaseg takes patches around objects and fills boxes, as
baselines do that are not trained; BAISeg takes crops with semantic maps, and extracts instances with a
threshold that is chosen after training.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from wsis.data.loading import eval_samples, train_batches
from wsis.data.roots import Root
from wsis.data.salient import SalientRoot
from wsis.declare.recipe import Recipe
from wsis.engine.fill import predict_objects
from wsis.engine.predict import predict_run
from wsis.engine.shared import images_key, masks_key, samples_key, shared_samples, shared_stream
from wsis.methods.baiseg.batches import semantic_batches, semantic_samples
from wsis.methods.baiseg.threshold import set_threshold
from wsis.methods.boxcaseg.patches import object_samples, patch_batches


def batches(
    recipe: Recipe,
    root: Root,
    salient: SalientRoot | None,
    start: int,
    rank: int,
    world: int,
    micro: int,
    workers: int,
) -> Iterator[list[Any]]:
    """The training stream of a recipe; see `wsis.data.loading.train_batches`.

    Runs on a frozen base share what they compute of a batch with the others of their process.
    """

    def stream(start: int) -> Iterator[list[Any]]:
        match recipe.method:
            case "boxcaseg":
                return patch_batches(recipe, root, salient, start, rank, world, micro, workers)
            case "baiseg":
                return semantic_batches(recipe, root, start, rank, world, micro, workers)
        return train_batches(recipe, root, start, rank, world, micro, workers)

    if recipe.model.trained == "masks" and world == 1:
        key = (images_key(recipe, root, salient), micro)
        return shared_stream(key, masks_key(recipe, root), start, stream)
    return stream(start)


def predict(
    recipe: Recipe, method: nn.Module, root: Root, path: Path, fabric: Fabric, show: bool = True
) -> dict[str, Any]:
    """Write predictions.json of the evaluation images: detections, or a mask for every annotated box.

    Returns what train.json says of it: BAISeg's threshold and how it was chosen.
    """
    rank, world = fabric.global_rank, fabric.world_size
    found: dict[str, Any] = {}
    run = predict_run
    if hasattr(method, "fill"):
        samples = object_samples(root.eval, rank, world)
        run = predict_objects
    elif recipe.method == "baiseg":
        found = set_threshold(recipe, method.to(fabric.device), root)
        samples = semantic_samples(recipe, root, rank, world)
    else:
        samples = eval_samples(recipe, root, rank, world)
    if world == 1:
        samples = shared_samples(samples_key(recipe, root, recipe.data.eval), samples)
    run(method, samples, root.category_ids, path, fabric, recipe.id, root.eval_images, show)
    return found
