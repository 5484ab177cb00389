"""Open a data root: check its layout, list its images and instances, and keep unseen masks out of reach.

A root is either COCO's layout (<split>/*.jpg, annotations/instances_<split>.json; `shapes` has it too) or
VOC2012's (see wsis.data.voc). Boxes are xyxy in original pixels. Where the supervision hides an instance's
mask, its segmentation is dropped while the annotation is read: no later code can see it. Under supervision
'semantic' training pictures have no instances at all (their semantic maps: wsis.methods.baiseg.semantic).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsis.data import voc
from wsis.data.pixels import is_below
from wsis.data.splits import (
    annotation_files,
    coco_file,
    file_categories,
    fingerprint,
    image_folder,
    joint_categories,
    layout,
    read_split,
)
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.evaluation.rle import is_number
from wsis.files import write_json

OFFICIAL = {"coco": {"train2017": 118287, "val2017": 5000}, "voc": {"train_aug": 10582, "val": 1449}}
OFFICIAL_SALIENT = 7991  # DUTS-Single
ONE = 1  # category id where all classes are one (data.classes)

# The twenty VOC classes under their COCO names (the class groups of BoxInst, Sec. 3.6).
VOC_GROUP = frozenset(
    {
        "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
        "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
    }
)  # fmt: skip


@dataclass(slots=True)
class Instance:
    """One annotated object. segmentation: COCO polygons or RLE, None where it is hidden or there is none."""

    id: int
    label: int
    box: tuple[float, float, float, float]
    crowd: bool
    segmentation: list | dict | None


@dataclass(slots=True)
class Picture:
    """One image of a split and what is annotated in it."""

    id: int
    path: Path
    height: int
    width: int
    instances: list[Instance] = field(default_factory=list)


@dataclass
class Root:
    """An opened data root, as `open_root` returns it.

    category_ids: as the data set numbers them, sorted; a contiguous label is a position in it
    train, eval:  the pictures that the recipe uses, in id order; read when first asked for
    proxies:      where the supervision is 'proxy': annotation id -> proxy mask, without those dropped; with
                  recipe.proxy.instances: image id -> objects that replace its own (as in wsis.proxy.generate)
    """

    path: Path
    dataset: str
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    recipe: Recipe
    proxies: Mapping[int, Any] | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @cached_property
    def fingerprint(self) -> str:
        """10 hex digits of the training split's annotations; image files are not read."""
        return fingerprint(annotation_files(self.path, self.dataset, self.recipe.data.train))

    @cached_property
    def eval_fingerprint(self) -> str:
        """As `fingerprint`, of the evaluation split."""
        return fingerprint(annotation_files(self.path, self.dataset, self.recipe.data.eval))

    @property
    def classes(self) -> str:
        """10 hex digits of the classes that a network of this root tells apart."""
        named = repr((self.category_ids, self.category_names))
        return hashlib.sha256(named.encode()).hexdigest()[:10]

    @cached_property
    def train(self) -> list[Picture]:
        """Pictures with an object that is no crowd region; under supervision 'semantic' without instances."""
        data = self.recipe.data
        semantic = data.supervision == "semantic"
        if semantic and self.dataset == "voc":
            pictures = self._of_classes(data.train)
        else:
            pictures = self._read(data.train, mask_classes(data.supervision, self))
            for picture in pictures:
                picture.instances = [i for i in picture.instances if not i.crowd]
                if self.proxies is not None:
                    self._supervise(picture)
            pictures = [p for p in pictures if p.instances]
            if data.supervision.startswith("masks") and not any(
                i.segmentation for p in pictures for i in p.instances
            ):
                raise WsisError(
                    f"{self.path}: split '{data.train}' has no mask to learn from (supervision"
                    f" '{data.supervision}'); train a row that learns from boxes"
                )
            for picture in pictures if semantic else ():
                picture.instances = []
        if not pictures:
            raise WsisError(f"{self.path}: split '{data.train}' has no image with an annotated object")
        return pictures[: data.train_images]

    def _supervise(self, picture: Picture) -> None:
        """Give a training picture the masks, or the objects, of another run."""
        if not self.recipe.proxy.instances:
            for instance in picture.instances:
                instance.segmentation = self.proxies.get(instance.id)
            return
        picture.instances = []
        for entry in self.proxies.get(picture.id, ()):
            x, y, w, h = entry["bbox"]
            label = self.category_ids.index(entry["category_id"])
            instance = Instance(entry["annotation_id"], label, (x, y, x + w, y + h), False, entry["rle"])
            picture.instances.append(instance)

    @cached_property
    def eval(self) -> list[Picture]:
        """Evaluation pictures, all of them; their instances carry no masks."""
        data = self.recipe.data
        return self._read(data.eval, set())[: data.eval_images]

    def with_masks(self, split: str, ids: Set[int] | None = None) -> list[Picture]:
        """Pictures of a split with every instance's mask, crowd regions too: to measure, not to train.

        ids: of the images wanted; None: all. Raises WsisError where a mask is missing.
        """
        pictures = self._read(split, set(range(self.num_classes)), ids)
        pictures = [picture for picture in pictures if ids is None or picture.id in ids]
        for picture in pictures:
            for instance in picture.instances:
                if instance.segmentation is None:
                    raise WsisError(f"{picture.path}: annotation {instance.id} has no mask to measure with")
        return pictures

    def _of_classes(self, split: str) -> list[Picture]:
        """A VOC split's pictures with an object, without instances: SegmentationObject stays closed."""
        names, pictures = voc.read_names(self.path, split), []
        for id, name in zip(voc.image_ids(names), names, strict=True):
            classes = voc.read_indices(self.path / "SegmentationClass" / f"{name}.png")
            if np.isin(classes, self.category_ids).any():
                path = image_folder(self.path, self.dataset, split) / f"{name}.jpg"
                pictures.append(Picture(id, path, *classes.shape))
        return sorted(pictures, key=lambda picture: picture.id)

    def _read(self, split: str, visible: set[int], ids: Set[int] | None = None) -> list[Picture]:
        content = read_split(self.path, self.dataset, split, ids=ids)
        return _pictures(content, self, image_folder(self.path, self.dataset, split), visible)


def open_root(recipe: Recipe, root: Path, proxies: Mapping[int, Any] | None = None) -> Root:
    """Open `root` for the recipe's data set and splits; with supervision 'proxy', `proxies` are its masks.

    Raises WsisError naming the folder or file that is missing, or the annotation that can't be read.
    """
    path, data = Path(root), recipe.data
    if not path.is_dir():
        raise WsisError(f"{path}: no such folder; give the root of a {data.dataset} data set")
    for split in (data.train, data.eval):
        listing = annotation_files(path, data.dataset, split)[0]
        for needed in (listing, image_folder(path, data.dataset, split)):
            if not needed.exists():
                raise WsisError(f"{needed}: missing; {layout(data.dataset, split)}")
    if data.dataset == "voc":
        categories = voc.CATEGORIES
    else:
        categories = joint_categories(coco_file(path, split) for split in (data.train, data.eval))
    if data.classes == "one":
        categories = {ONE: "object"}
    ids = sorted(categories)
    return Root(path.resolve(), data.dataset, tuple(ids), tuple(categories[i] for i in ids), recipe, proxies)


def official(root: Root) -> dict[str, tuple[int, int, bool]]:
    """Split -> (images listed, official count, equal) for the splits whose official size is known."""
    counts = {}
    for split, count in OFFICIAL.get(root.dataset, {}).items():
        if split in (root.recipe.data.train, root.recipe.data.eval):
            listed = len(read_split(root.path, root.dataset, split, masks=False)["images"])
            counts[split] = (listed, count, listed == count)
    return counts


def voc_labels(root: Root) -> set[int]:
    """Labels of the VOC class group; in `shapes` the first of the three classes stands for it."""
    if root.dataset == "shapes":
        return {0}
    names = voc.CATEGORIES.values() if root.dataset == "voc" else VOC_GROUP
    return {label for label, name in enumerate(root.category_names) if name in set(names)}


def category_groups(root: Root) -> dict[str, tuple[int, ...]]:
    """Category ids by class group: "voc", and "nonvoc" for all others."""
    labels = voc_labels(root)
    voc_ids = tuple(root.category_ids[label] for label in sorted(labels))
    return {"voc": voc_ids, "nonvoc": tuple(id for id in root.category_ids if id not in voc_ids)}


def mask_classes(supervision: str, root: Root) -> set[int]:
    """Contiguous labels whose masks may be seen in training. Raises WsisError where a group is empty."""
    everything = set(range(root.num_classes))
    if supervision == "masks":
        return everything
    if supervision not in ("masks-voc", "masks-nonvoc"):
        return set()
    group = voc_labels(root)
    if not group or group == everything:
        raise WsisError(
            f"{root.path}: supervision '{supervision}' needs classes inside and outside VOC's twenty,"
            f" but {len(group)} of {root.num_classes} classes are among them; use a COCO root"
        )
    return group if supervision == "masks-voc" else everything - group


def eval_image_ids(recipe: Recipe, root: Root) -> list[int]:
    """Ids of the evaluated images: the first data.eval_images in id order."""
    content = read_split(root.path, root.dataset, recipe.data.eval, masks=False)
    return sorted(image["id"] for image in content["images"])[: recipe.data.eval_images]


def eval_annotations(root: Root, folder: Path) -> Path:
    """The COCO file to evaluate against: the root's, or one that is written into `folder` once.

    Written are VOC's, one whose split lacks classes of training (its classes are those of the root), and one
    whose objects are all of one class (data.classes).
    """
    split, one = root.recipe.data.eval, root.recipe.data.classes == "one"
    file = coco_file(root.path, split)
    if root.dataset != "voc" and not one and set(file_categories(file)) == set(root.category_ids):
        return file
    file = Path(folder) / f"instances_{root.name}_{split}_{root.eval_fingerprint}_{root.classes}.json"
    if not file.exists():
        named = zip(root.category_ids, root.category_names, strict=True)
        categories = [{"id": id, "name": name} for id, name in named]
        content = read_split(root.path, root.dataset, split) | {"categories": categories}
        if one:
            content["annotations"] = [each | {"category_id": ONE} for each in content["annotations"]]
        write_json(file, content)
    return file


def _pictures(content: dict, root: Root, folder: Path, visible: set[int]) -> list[Picture]:
    labels = {id: label for label, id in enumerate(root.category_ids)}
    one = root.recipe.data.classes == "one"
    pictures: dict[int, Picture] = {}
    try:
        for image in content["images"]:
            id, name = image["id"], image["file_name"]
            if not all(type(number) is int for number in (id, image["height"], image["width"])):
                raise ValueError(f"id, height and width of image {id!r} must be whole numbers")
            if not is_below(name):
                raise ValueError(f"file_name {name!r} leaves the folder of its split")
            pictures[id] = Picture(id, folder / name, image["height"], image["width"])
        for a in content["annotations"]:
            x, y, w, h = box = a["bbox"]
            if not all(map(is_number, box)):
                raise ValueError(f"bbox {box} of annotation {a['id']} is not four finite numbers")
            if (crowd := a.get("iscrowd") or 0) not in (0, 1):
                raise ValueError(f"iscrowd of annotation {a['id']} is {crowd!r}, not 0 or 1")
            label = 0 if one else labels[a["category_id"]]
            segmentation = a.get("segmentation") or None if label in visible else None
            instance = Instance(a["id"], label, (x, y, x + w, y + h), bool(crowd), segmentation)
            pictures[a["image_id"]].instances.append(instance)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WsisError(
            f"{root.path}: an annotation can't be read ({type(error).__name__}: {error});"
            f" run `wsis data check {root.path}` to see which"
        ) from None
    return [pictures[id] for id in sorted(pictures)]
