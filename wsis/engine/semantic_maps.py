"""Semantic maps of a root's images by somebody else's network: a local checkpoint of transformers.

Any that its AutoModelForUniversalSegmentation (Mask2Former, MaskFormer) or AutoModelForSemanticSegmentation
opens. Nothing is downloaded. Shapes: h x w image.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from wsis.data import voc
from wsis.data.pixels import inside
from wsis.data.splits import coco_file, dataset_of, image_folder, joint_categories, read_split, splits_of
from wsis.data.transforms import read_image
from wsis.errors import WsisError
from wsis.files import atomic
from wsis.progress import Progress
from wsis.signals import OneByOne

MOST = 254  # classes of a map; 255 is void


class Listed(NamedTuple):
    """An image, its height and width, and the file of its map."""

    path: Path
    size: tuple[int, int]
    map: Path


class Network(NamedTuple):
    """What transformers opened, and for each of its classes what stands in a map."""

    processor: Any
    model: Any
    values: np.ndarray  # uint8: 0, or the position of the root's class + 1


def make_maps(
    root: Path,
    model: Path,
    name: str,
    splits: Sequence[str] = (),
    renamed: Mapping[str, str] | None = None,
    device: str = "cpu",
    batch: int = 4,
) -> tuple[Path, int]:
    """Write <root>/semantic/<name>/<stem>.png of every image that has none yet; the folder and how many.

    model:   folder of the checkpoint
    splits:  of the root; none: all
    renamed: the root's name of a class -> the network's, where they differ
    batch:   images of one size that the network gets at once

    A map is 8-bit, of its image's size: 0 background (all classes that the root does not have), and the
    position of the root's class + 1. Raises WsisError for what is missing, and Interrupted at a job's time
    limit.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", name):
        raise WsisError(f"--name {name}: letters, digits, - and _")
    if not root.is_dir():
        raise WsisError(f"{root}: no such folder; give the root of a data set")
    dataset = dataset_of(root)
    there = splits_of(root, dataset)
    if unknown := sorted({*splits} - {*there}):
        raise WsisError(f"{root}: no split '{unknown[0]}' (there are: {', '.join(there)})")
    network = opened(model, _classes(root, dataset, there), renamed or {}, device)
    folder = root / "semantic" / name
    todo = [each for each in listed(root, dataset, splits or there, folder) if not each.map.exists()]
    todo.sort(key=lambda each: (each.size, each.path))
    made = OneByOne("{} of {} semantic maps", len(todo), kept=True)
    with made, Progress(f"semantic maps in {folder}", len(todo)) as progress:
        for images in _batches(todo, batch):
            for image, semantic in zip(images, _maps(network, images), strict=True):
                with atomic(image.map) as file:
                    Image.fromarray(semantic).save(file, format="PNG")
            made.finished(len(images))
            progress.update(made.done)
    return folder, made.done


def listed(root: Path, dataset: str, splits: Sequence[str], folder: Path) -> Iterator[Listed]:
    """The images of these splits, each once. Raises WsisError for two whose maps would be one file."""
    seen: dict[str, Path] = {}
    for split in splits:
        for image in read_split(root, dataset, split, masks=False)["images"]:
            path = inside(image_folder(root, dataset, split), image["file_name"])
            if seen.setdefault(path.stem, path) == path:
                yield Listed(path, (image["height"], image["width"]), folder / f"{path.stem}.png")
            else:
                raise WsisError(f"{path}: a map of this name is that of {seen[path.stem]}: give one --split")


def opened(model: Path, classes: Sequence[str], renamed: Mapping[str, str], device: str) -> Network:
    """The network of a checkpoint's folder, and its classes as the root's."""
    import transformers

    if not (model / "config.json").is_file():
        raise WsisError(f"{model}: no config.json; give a folder with a checkpoint of transformers")
    kinds = (transformers.AutoModelForUniversalSegmentation, transformers.AutoModelForSemanticSegmentation)
    try:
        config = transformers.AutoConfig.from_pretrained(model, local_files_only=True)
        kind = next((kind for kind in kinds if type(config) in kind._model_mapping), None)
        if kind is None:
            raise WsisError(f"{model}: a {config.model_type} makes no semantic maps; give a Mask2Former, say")
        labels = [config.id2label[id] for id in sorted(config.id2label)]
        values = class_values(labels, classes, renamed, str(model))  # before weights are read
        processor = transformers.AutoImageProcessor.from_pretrained(model, local_files_only=True)
        network, loaded = kind.from_pretrained(
            model, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except WsisError:
        raise
    except Exception as error:  # of many kinds, whatever the files hold
        reason = str(error).strip().partition("\n")[0]
        raise WsisError(f"{model}: transformers can't open it: {reason}") from None
    _check_weights(network, loaded, str(model))
    return Network(processor, network.to(device).eval(), values)


def _check_weights(network: torch.nn.Module, loaded: Mapping[str, Any], where: str) -> None:
    """Raise WsisError for weights that the files lack, have of another shape, or that are no numbers.

    loaded: what transformers tells of the loading; it draws at random what the files lack.
    """
    names = dict(network.named_parameters())
    absent = sorted({*loaded["missing_keys"]} & {*names})
    others = sorted(key if isinstance(key, str) else key[0] for key in loaded["mismatched_keys"])
    for keys, what in ((absent, "lack"), (others, "have another shape of")):
        if keys:
            raise WsisError(
                f"{where}: its files {what} {len(keys)} of the network's weights ({keys[0]}, say); give a"
                " whole checkpoint, with the config.json that it was saved with"
            )
    if broken := [name for name, weight in names.items() if not weight.isfinite().all()]:
        raise WsisError(f"{where}: {broken[0]} holds values that are not finite; fetch the checkpoint again")


def class_values(
    labels: Sequence[str], classes: Sequence[str], renamed: Mapping[str, str], where: str
) -> np.ndarray:
    """What stands in a map for each of the network's labels: 0, or the position of the root's class + 1.

    Raises WsisError, which begins with `where`, for classes that it lacks, and where it has no others.
    """
    if unknown := sorted({*renamed} - {*classes}):
        raise WsisError(f"--rename {unknown[0]}: no class of the root (there are: {', '.join(classes)})")
    if len(classes) > MOST:
        raise WsisError(f"{len(classes)} classes; a semantic map holds at most {MOST}")
    if not classes:
        raise WsisError("the root has no classes, of which there could be maps")
    places: dict[str, int] = {}
    for place, name in enumerate(classes, 1):
        first = places.setdefault(_plain(renamed.get(name, name)), place)
        if first != place:
            both = f"{classes[first - 1]} and {name}"
            raise WsisError(f"{both}: both would be the network's '{renamed.get(name, name)}'; --rename one")
    values = np.array([places.get(_plain(label), 0) for label in labels], np.uint8)
    if missing := [name for place, name in enumerate(classes, 1) if place not in values]:
        raise WsisError(
            f"{where}: does not know {len(missing)} of the root's {len(classes)} classes:"
            f" {', '.join(missing)}; where it has another name for one, say --rename 'NAME=ITS NAME'"
        )
    if values.all():
        raise WsisError(
            f"{where}: knows no class beside the root's, so that nothing would be background; give a"
            " checkpoint for semantic or panoptic segmentation"
        )
    return values


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def _classes(root: Path, dataset: str, splits: Sequence[str]) -> list[str]:
    """The root's classes in the order of their ids."""
    if dataset == "voc":
        return [*voc.CATEGORIES.values()]
    known = joint_categories(coco_file(root, split) for split in splits)
    return [known[id] for id in sorted(known)]


def _batches(images: Sequence[Listed], most: int) -> Iterator[list[Listed]]:
    """Images of one size together: padding would shift the maps of the smaller ones."""
    for _, group in groupby(images, key=lambda each: each.size):
        while part := list(islice(group, most)):
            yield part


@torch.inference_mode()
def _maps(network: Network, images: Sequence[Listed]) -> list[np.ndarray]:
    """The maps of images of one size, h x w uint8 each."""
    pixels = [read_image(each.path, *each.size).copy() for each in images]  # which can be written to
    try:  # images of 1 or 3 rows look like channels
        inputs = network.processor(images=pixels, return_tensors="pt", input_data_format="channels_last")
    except (TypeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WsisError(f"{images[0].path}: the checkpoint's image processor refuses it: {reason}") from None
    inputs = inputs.to(network.model.device)
    sizes = [each.size for each in images]
    found = network.processor.post_process_semantic_segmentation(network.model(**inputs), target_sizes=sizes)
    return [network.values[each.cpu().numpy()] for each in found]
