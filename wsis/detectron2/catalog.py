"""Data roots in detectron2's catalogs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from wsis.data.annotations import Picture
from wsis.data.ground_truth import eval_annotations
from wsis.data.roots import open_root
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError

WHOLE = ("boxes", "masks")  # kinds of supervision that its data sets can say: all objects have masks, or none


def register_split(path: Path, split: str, recipe: Recipe) -> str:
    """As `wsis.detectron2.register`. A name that is there is registered anew."""
    data = recipe.data
    if split not in (data.train, data.eval):
        raise WsisError(
            f"split '{split}': the recipe has {data.train} (training) and {data.eval} (evaluation)"
        )
    trains = split == data.train
    if trains and data.supervision not in WHOLE:
        text = f"detectron2 has masks of all objects or of none ({', '.join(WHOLE)})"
        raise WsisError(f"data.supervision '{data.supervision}': {text}")
    root = open_root(recipe, path)
    name = f"wsis/{root.name}/{split}/{data.supervision if trains else 'evaluation'}"
    for catalog in (DatasetCatalog, MetadataCatalog):
        if name in catalog.list():
            catalog.remove(name)
    DatasetCatalog.register(name, lambda: entries(root.train if trains else root.eval))
    metadata = MetadataCatalog.get(name)
    metadata.set(thing_classes=list(root.category_names))
    metadata.set(thing_dataset_id_to_contiguous_id={id: label for label, id in enumerate(root.category_ids)})
    if not trains:
        metadata.set(json_file=str(eval_annotations(root, path)), evaluator_type="coco")
    return name


def entries(pictures: list[Picture]) -> list[dict[str, Any]]:
    """detectron2's dictionaries of images; an object has a segmentation where its mask is not hidden."""
    return [
        {
            "file_name": str(picture.path),
            "image_id": picture.id,
            "height": picture.height,
            "width": picture.width,
            "annotations": [
                {
                    "bbox": list(instance.box),
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": instance.label,
                    "iscrowd": int(instance.crowd),
                    **({"segmentation": instance.segmentation} if instance.segmentation else {}),
                }
                for instance in picture.instances
            ],
        }
        for picture in pictures
    ]


def add_classes(name: str, classes: list[str]) -> None:
    """Names of classes without a data set, for Visualizer."""
    if not MetadataCatalog.get(name).get("thing_classes"):
        MetadataCatalog.get(name).set(thing_classes=classes)
