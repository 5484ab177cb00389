"""Predictions of a model on a user's images, as files that others read.

A folder gets predictions.json, COCO results with boxes, class names and file names; instances.json, a COCO
data set whose annotations are the same predictions, which labelling tools and viewers import; and drawings.
Where boxes are given, instances.json is the file that they came from, with their masks filled in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pycocotools import mask as rle

from wsis.errors import WsisError
from wsis.files import write_json, write_text
from wsis.pictures.overlay import overlay
from wsis.progress import Progress
from wsis.trained.given import Listed, dumped, filled_in, listed_images
from wsis.trained.model import Instances, Model, read_pixels


@dataclass(frozen=True)
class Boxes:
    """Whether a model that finds objects itself is to fill boxes, and whether with polygons."""

    given: bool = False
    polygons: bool = False


SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}


def image_files(places: Sequence[Path]) -> dict[str, Path]:
    """File name -> path of image files, and of those in folders and below, in the order of their names.

    A name is relative to the folder that was given; where two are equal, the folder's own name comes first.
    Raises WsisError for a place that is missing and where there is no image at all.
    """
    files: dict[str, Path] = {}
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("[!.]*") if path.suffix.lower() in SUFFIXES)
            named = [(path.relative_to(place).as_posix(), path) for path in inside]
        elif place.exists():
            named = [(place.name, place)]
        else:
            raise WsisError(f"{place}: no such file or folder")
        for name, path in named:
            if name in files and files[name].resolve() != path.resolve():
                name = f"{path.parent.resolve().name}/{name}"
            if name in files and files[name].resolve() != path.resolve():
                raise WsisError(f"{path} and {files[name]}: two images of one name")
            files[name] = path
    if not files:
        raise WsisError(f"no image ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, places))}")
    return files


def export(
    model: Model,
    files: dict[str, Path],
    out: Path,
    score: float = 0.0,
    draw: bool = False,
    annotations: Path | None = None,
    boxes: Boxes = Boxes(),
) -> tuple[int, int]:
    """Predict images and write the files into `out`; returns the numbers of images and of instances.

    files:       file name -> path (`image_files`)
    score:       instances below are left out, unless they are masks of given boxes
    draw:        also out/drawn/<name>.jpg
    annotations: a COCO file that numbers the images, and has the boxes where these are given; without it
                 images are numbered from 1
    """
    listed = listed_images(annotations, files) if annotations else {}
    given = model.fills_boxes or boxes.given
    if given and not listed:
        text = "give them with --annotations FILE, or in Python: wsis.load(RUN).masks_of(image, boxes)"
        raise WsisError(f"{model.folder}: masks of which boxes? {text}")
    images: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    with Progress("images", len(files)) as progress:
        for done, (name, instances) in enumerate(_predicted(model, files, listed if given else {}), 1):
            number, (height, width) = listed[name].id if listed else done, instances.size
            instances = instances if given else instances.above(score)
            images.append({"id": number, "file_name": name, "height": height, "width": width})
            entries = [entry | {"file_name": name} for entry in instances.coco(number)]
            if given:
                for entry, id in zip(entries, listed[name].ids, strict=True):
                    entry["annotation_id"] = id
            results += entries
            if draw:
                _draw(
                    files[name], instances, out / "drawn" / (name if name.endswith(".jpg") else f"{name}.jpg")
                )
            progress.update(done)
    write_text(out / "predictions.json", dumped(results))
    if annotations and given:
        masks = {entry["annotation_id"]: entry["segmentation"] for entry in results}
        write_json(out / "instances.json", filled_in(annotations, masks, boxes.polygons))
    else:
        write_json(out / "instances.json", dataset(model, images, results))
    return len(images), len(results)


def _predicted(
    model: Model, files: dict[str, Path], given: dict[str, Listed]
) -> Iterator[tuple[str, Instances]]:
    """Each file's name with its instances, or with the masks of the boxes that are given.

    A class that the model does not have is not known to it.
    """
    if not given:
        yield from zip(files, model.stream(files.values()), strict=True)
        return
    boxes = [each.boxes for each in given.values()]
    labels = [[name if name in model.names else None for name in each.labels] for each in given.values()]
    yield from zip(files, model.stream(files.values(), boxes, labels), strict=True)


def dataset(model: Model, images: list[dict[str, Any]], results: list[dict[str, Any]]) -> dict[str, Any]:
    """Results as a COCO data set: annotations with ids from 1, areas in pixels, and the scores.

    Empty masks are no annotations.
    """
    areas = [int(rle.area(entry["segmentation"])) for entry in results]
    filled = [(entry, area) for entry, area in zip(results, areas, strict=True) if area]
    return {
        "info": {"description": f"predicted by {model.recipe.id}"},
        "images": images,
        "categories": [{"id": id, "name": name} for id, name in model.categories.items()],
        "annotations": [
            {
                "id": number,
                **{key: entry[key] for key in ("image_id", "category_id", "bbox", "segmentation", "score")},
                "area": area,
                "iscrowd": 0,
            }
            for number, (entry, area) in enumerate(filled, 1)
        ],
    }


def _draw(path: Path, instances: Instances, target: Path) -> None:
    words = [f"{name} {score:.2f}" for name, score in zip(instances.names, instances.scores, strict=True)]
    shown = instances.masks.any((1, 2))
    masks, boxes = instances.masks[shown], instances.boxes[shown]
    words = [word for word, is_shown in zip(words, shown, strict=True) if is_shown]
    picture = overlay(read_pixels(path), masks, boxes, words)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=92)
