"""The files of a data root: where a split's annotations and images lie, their content, classes and digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Set
from functools import lru_cache
from pathlib import Path

from wsis.data import voc
from wsis.data.annotations import Annotations, columns
from wsis.data.kept import Parsed, is_large, kept
from wsis.errors import WsisError, brief
from wsis.files import read_json


def coco_file(path: Path, split: str) -> Path:
    return path / "annotations" / f"instances_{split}.json"


def image_folder(path: Path, dataset: str, split: str) -> Path:
    return path / ("JPEGImages" if dataset == "voc" else split)


def dataset_of(path: Path) -> str:
    """The layout of a user's root: "voc", or else "coco"."""
    return "voc" if (path / "ImageSets").is_dir() else "coco"


def splits_of(path: Path, dataset: str) -> list[str]:
    """The splits that a root has annotations of. Raises WsisError where there is none."""
    if dataset == "voc":
        there = sorted(file.stem for file in voc.split_file(path, "x").parent.glob("*.txt"))
        there = [split for split in there if split != "trainval"]
    else:
        files = sorted((path / "annotations").glob("instances_*.json"))
        there = [file.stem.removeprefix("instances_") for file in files]
    if not there:
        raise WsisError(f"{path}: no annotations of a split; see `wsis data check {path}`")
    return there


def read_split(path: Path, dataset: str, split: str, masks: bool = True, ids: Set[int] | None = None) -> dict:
    """The split's annotations in COCO's format. Raises WsisError naming a file that can't be read.

    ids: VOC's images whose files are opened, None: all; COCO's file has them all anyway.
    """
    if dataset == "voc":
        return voc.read_voc(path, split, masks, ids)
    file = coco_file(path, split)
    if not file.exists():
        raise WsisError(f"{file}: missing; {layout(dataset, split)}")
    return _read_coco(file)


def _read_coco(file: Path) -> dict:
    try:
        content = read_json(file)
    except WsisError as error:
        raise WsisError(f"{error}; it may be cut short: fetch it again") from None
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise WsisError(f"{file}: expected a COCO instances file with images, annotations and categories")
    return content


def split_columns(
    path: Path, dataset: str, split: str, cache: Path | None, ids: Set[int] | None
) -> Annotations:
    """The split's annotations as columns; those of a large COCO file are kept in `cache` (`wsis.data.kept`).

    ids: as in `read_split`. Raises WsisError naming the root where an annotation can't be read.
    """
    try:
        if dataset == "voc":
            return columns(voc.read_voc(path, split, True, ids))
        file = coco_file(path, split)
        if not file.exists():
            raise WsisError(f"{file}: missing; {layout(dataset, split)}")
        return _parsed(file, cache)[0]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise WsisError(
            f"{path}: an annotation can't be read ({type(error).__name__}: {error});"
            f" run `wsis data check {path}` to see which"
        ) from None


def _parsed(file: Path, cache: Path | None) -> Parsed:
    """Columns of a COCO file, and its "categories" ([id, name]) and "fingerprint"."""

    def parse() -> Parsed:
        content = _read_coco(file)
        categories = list(read_categories(content, file).items())
        return columns(content), {"categories": categories, "fingerprint": _content_digest([file])}

    return kept(file, cache, parse)


def annotation_files(path: Path, dataset: str, split: str) -> list[Path]:
    """The files that hold a split's annotations, the one that lists its images first."""
    if dataset != "voc":
        return [coco_file(path, split)]
    listing = voc.split_file(path, split)
    files = [listing]
    for name in voc.read_names(path, split) if listing.exists() else []:
        # A training from semantic maps needs no other file, one from boxes the XML.
        folders = (("SegmentationObject", "png"), ("Annotations", "xml"), ("SegmentationClass", "png"))
        candidates = [path / folder / f"{name}.{suffix}" for folder, suffix in folders]
        files.append(next((file for file in candidates if file.exists()), candidates[0]))
    return files


def fingerprint(path: Path, dataset: str, split: str, cache: Path | None) -> str:
    """10 hex digits of the content of a split's annotation files.

    Raises WsisError for one that can't be read.
    """
    files = annotation_files(path, dataset, split)
    if dataset == "voc" or cache is None or not is_large(files[0]):
        return _content_digest(files)
    return _parsed(files[0], cache)[1]["fingerprint"]


def _content_digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        try:
            with open(path, "rb") as file:
                while part := file.read(2**20):
                    digest.update(part)
        except OSError as error:
            raise WsisError(f"{path}: can't be read ({error}); run `wsis data check` on the root") from None
    return digest.hexdigest()[:10]


def layout(dataset: str, split: str) -> str:
    if dataset == "voc":
        return (
            "a VOC root has JPEGImages/, SegmentationClass/, SegmentationObject/ and"
            f" ImageSets/Segmentation/{split}.txt (train_aug.txt lists VOC 2012 train with SBD)"
        )
    return f"a {dataset} root has {split}/ with the images and annotations/instances_{split}.json"


def joint_categories(files: Iterable[Path], cache: Path | None = None) -> dict[int, str]:
    """Category id -> name of all these COCO files. Raises WsisError naming two that disagree."""
    names: dict[int, tuple[str, Path]] = {}
    ids: dict[str, tuple[int, Path]] = {}
    for file in files:
        for id, name in sorted(file_categories(file, cache).items()):
            known, where = names.setdefault(id, (name, file))
            if known != name:
                raise WsisError(
                    f"{file}: category {id} is '{name}', but '{known}' in {where}; number the classes alike"
                )
            number, where = ids.setdefault(name, (id, file))
            if number != id:
                raise WsisError(
                    f"{file}: category '{name}' has id {id}, but {number} in {where}; number classes alike"
                )
    return {id: name for id, (name, _) in names.items()}


def file_categories(file: Path, cache: Path | None = None) -> dict[int, str]:
    """As `read_categories`, of a COCO file, which is read once."""
    state = file.stat()
    return _categories_at(file, cache, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _categories_at(file: Path, cache: Path | None, time: int, size: int) -> dict[int, str]:
    if cache is not None and is_large(file):
        return dict(map(tuple, _parsed(file, cache)[1]["categories"]))
    return read_categories(_read_coco(file), file)


def read_categories(content: dict, path: Path) -> dict[int, str]:
    """Category id -> name of a COCO file's content; WsisError naming `path` where they are malformed."""
    categories: dict[int, str] = {}
    for category in content.get("categories", ()):
        id = category.get("id") if isinstance(category, dict) else None
        if type(id) is not int or not isinstance(category.get("name"), str):
            raise WsisError(f"{path}: category {brief(category)} lacks a whole id or a name")
        if id in categories:
            raise WsisError(f"{path}: two categories have id {id}")
        categories[id] = category["name"]
    return categories
