"""A split of a data root, as a COCO file and the images that it lists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from wsis.data.splits import coco_file, dataset_of, image_folder, read_categories, read_split, splits_of
from wsis.errors import WsisError
from wsis.files import write_json


def listed_split(
    root: Path, split: str | None, usual: str, known: Mapping[int, str], out: Path
) -> tuple[Path, dict[str, Path]]:
    """A split's COCO file, and its images by file name, in the order of their ids.

    split: None for `usual`, or for the only one that there is
    known: category id -> class name of what is to predict it
    out:   a folder, for the annotations of a VOC root as a COCO file
    Raises WsisError where there is no such split, or a class of it has another name in `known`.
    """
    if not root.is_dir():
        raise WsisError(f"{root}: no such folder; give the root of the images (--data)")
    dataset = dataset_of(root)
    there = splits_of(root, dataset)
    split = split or (usual if usual in there else there[0] if len(there) == 1 else None)
    if split not in there:
        wrong = f"no split '{split}'" if split else "which split is it? Give --split NAME"
        raise WsisError(f"{root}: {wrong} (there are: {', '.join(there)})")
    file, content = coco_file(root, split), read_split(root, dataset, split)
    for id, name in read_categories(content, file).items():
        if known.get(id, name) != name:
            raise WsisError(f"{file}: category {id} is '{name}', but '{known[id]}' for the run")
    if dataset == "voc":
        file = out / "annotations.json"
        write_json(file, content)
    folder, images = (
        image_folder(root, dataset, split),
        sorted(content["images"], key=lambda each: each["id"]),
    )
    return file, {image["file_name"]: folder / image["file_name"] for image in images}
