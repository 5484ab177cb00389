"""BAISeg's boundary maps drawn by a trained run, and measured on the evaluation images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wsis.data.ground_truth import eval_annotations, eval_image_ids
from wsis.data.loading import groups
from wsis.data.roots import Root
from wsis.data.shared import samples_key, shared_samples
from wsis.data.voc import read_indices
from wsis.declare.recipe import Recipe
from wsis.declare.stored import weights_file
from wsis.errors import WsisError
from wsis.evaluation.guard import read_predictions, read_truth
from wsis.evaluation.rle import truth_rle
from wsis.measures.measure import Measured, Subject
from wsis.methods import build_method
from wsis.methods.baiseg.batches import semantic_samples
from wsis.methods.baiseg.boundary import BoundaryScores, instance_map, pixel_groups, separated
from wsis.methods.baiseg.semantic import SemanticMaps
from wsis.methods.weights import load_model


def measure_run(subject: Subject) -> Measured:
    """The measures of a trained run's boundary maps and predicted instances."""
    recipe, root, folder = subject.run.recipe.settled(), subject.root, subject.folder
    maps = boundary_maps(recipe, root, weights_file(folder), subject.device)
    details = scores(recipe, root, folder / "predictions.json", subject.base / "data", maps)
    return Measured({subject.key: details.pop("measures")}, details)


def boundary_maps(
    recipe: Recipe, root: Root, weights: Path, device: Any
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Image id and boundary map (h x w float32 in [0, 1], None: the row has none) of evaluation images.

    Readings of one network share its maps with each other.
    """
    method = build_method(recipe, root.num_classes)
    method.load_state_dict(load_model(weights)["model"])
    method.to(device).eval()
    samples = shared_samples(samples_key(recipe, root, recipe.data.eval), semantic_samples(recipe, root))
    for group in groups(samples, torch.device(device)):
        with torch.no_grad():
            drawn = method.maps(group)
        for sample, maps in zip(group, drawn, strict=True):
            yield sample.id, maps.boundary


def scores(
    recipe: Recipe,
    root: Root,
    predictions: Path,
    folder: Path,
    drawn: Iterable[tuple[int, np.ndarray | None]],
) -> dict[str, Any]:
    """The measures over all evaluation images (`BoundaryScores.result`), with the number of objects.

    predictions: the run's predictions.json; folder: where a VOC root's annotations are kept in COCO's form;
    drawn: as `boundary_maps` gives them. Raises WsisError naming the file, or the image whose map is wrong.
    """
    truth = read_truth(eval_annotations(root, folder))
    chosen = eval_image_ids(recipe, root)
    objects: dict[int, list[dict[str, Any]]] = {id: [] for id in chosen}
    for entry in truth.annotations:
        if entry["image_id"] in objects and not entry["iscrowd"]:
            objects[entry["image_id"]].append(entry)
    predicted: dict[int, list[dict]] = {id: [] for id in chosen}
    for entry in read_predictions(predictions, truth, chosen):  # best first
        predicted[entry["image_id"]].append(entry["segmentation"])
    semantic, textures = SemanticMaps(root, recipe.data.eval), TextureMaps(root, recipe.data.eval)
    pictures = {picture.id: picture for picture in root.eval}
    scores = BoundaryScores()
    for id, boundary in drawn:
        size = truth.sizes[id]
        rles = [truth_rle(entry["segmentation"], size) for entry in objects[id]]
        labels = np.array([entry["category_id"] for entry in objects[id]], dtype=np.int64)
        try:
            # VOC's bands of void would keep objects apart that touch.
            classes, instances = semantic.filled(semantic.read(pictures[id]), instance_map(rles, size))
            texture = textures.read(pictures[id].path.stem)
            pixels = pixel_groups(instances, labels, classes, texture)
            scores.add(pixels, boundary, separated(rles, predicted[id], pixels.pairs))
        except WsisError as error:
            raise WsisError(f"image {id} of {root.path}: {error}") from None
    if scores.images != len(chosen):
        raise WsisError(f"{recipe.id}: boundary maps of {scores.images} images, there are {len(chosen)}")
    return {"objects": sum(map(len, objects.values())), **scores.result()}


class TextureMaps:
    """Texture edges of a split's images, <root>/texture/<split>/<stem>.png; photographs have none."""

    def __init__(self, root: Root, split: str) -> None:
        folder = root.path / "texture" / split
        self.folder = folder if folder.is_dir() else None

    def read(self, stem: str) -> np.ndarray | None:
        """h x w uint8, 255 on edges; None where the root has no such maps. WsisError for a missing file."""
        return None if self.folder is None else read_indices(self.folder / f"{stem}.png")
