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
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.files import read_json, write_json

OFFICIAL = {"coco": {"train2017": 118287, "val2017": 5000}, "voc": {"train_aug": 10582, "val": 1449}}
OFFICIAL_SALIENT = 7991  # DUTS-Single

# The twenty VOC classes under their COCO names (the class groups of BoxInst, Sec. 3.6).
VOC_GROUP = frozenset(
    {
        "airplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table",
        "dog", "horse", "motorcycle", "person", "potted plant", "sheep", "couch", "train", "tv",
    }
)  # fmt: skip


@dataclass(slots=True)
class Instance:
    """One annotated object. segmentation: COCO polygons or RLE, None where the supervision hides it."""

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
        """10 hex digits of the content of both splits' annotations; image files are not read."""
        digest = hashlib.sha256()
        for split in (self.recipe.data.train, self.recipe.data.eval):
            for path in _annotation_files(self.path, self.dataset, split):
                digest.update(path.read_bytes())
        return digest.hexdigest()[:10]

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

        ids: of the images wanted; None: all.
        """
        pictures = self._read(split, set(range(self.num_classes)), ids)
        return [picture for picture in pictures if ids is None or picture.id in ids]

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
        listing = _annotation_files(path, data.dataset, split)[0]
        for needed in (listing, image_folder(path, data.dataset, split)):
            if not needed.exists():
                raise WsisError(f"{needed}: missing; {_layout(data.dataset, split)}")
    if data.dataset == "voc":
        categories = voc.CATEGORIES
    else:
        categories = read_categories(read_split(path, data.dataset, data.eval), path)
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
    """The COCO file to evaluate against: the root's, or for VOC one that is written into `folder` once."""
    split = root.recipe.data.eval
    if root.dataset != "voc":
        return root.path / "annotations" / f"instances_{split}.json"
    file = Path(folder) / f"instances_{root.name}_{split}_{root.fingerprint}.json"
    if not file.exists():
        write_json(file, read_split(root.path, root.dataset, split))
    return file


def image_folder(path: Path, dataset: str, split: str) -> Path:
    return path / ("JPEGImages" if dataset == "voc" else split)


def read_split(path: Path, dataset: str, split: str, masks: bool = True, ids: Set[int] | None = None) -> dict:
    """The split's annotations in COCO's format. Raises WsisError naming a file that can't be read.

    ids: VOC's images whose files are opened, None: all; COCO's file has them all anyway.
    """
    if dataset == "voc":
        return voc.read_voc(path, split, masks, ids)
    file = path / "annotations" / f"instances_{split}.json"
    if not file.exists():
        raise WsisError(f"{file}: missing; {_layout(dataset, split)}")
    try:
        content = read_json(file)
    except WsisError as error:
        raise WsisError(f"{error}; it may be cut short: fetch it again") from None
    if not isinstance(content, dict) or not {"images", "annotations", "categories"} <= set(content):
        raise WsisError(f"{file}: expected a COCO instances file with images, annotations and categories")
    return content


def _annotation_files(path: Path, dataset: str, split: str) -> list[Path]:
    if dataset != "voc":
        return [path / "annotations" / f"instances_{split}.json"]
    listing = voc.split_file(path, split)
    names = voc.read_names(path, split) if listing.exists() else []
    files = [path / "SegmentationObject" / f"{name}.png" for name in names]
    classes = path / "SegmentationClass"  # a training from semantic maps needs no other file
    return [listing, *(file if file.exists() else classes / file.name for file in files)]


def _layout(dataset: str, split: str) -> str:
    if dataset == "voc":
        return (
            "a VOC root has JPEGImages/, SegmentationClass/, SegmentationObject/ and"
            f" ImageSets/Segmentation/{split}.txt (train_aug.txt lists VOC 2012 train with SBD)"
        )
    return f"a {dataset} root has {split}/ with the images and annotations/instances_{split}.json"


def read_categories(content: dict, path: Path) -> dict[int, str]:
    """Category id -> name of a COCO file's content; WsisError naming `path` where they are malformed."""
    try:
        return {int(category["id"]): str(category["name"]) for category in content["categories"]}
    except (KeyError, TypeError, ValueError):
        raise WsisError(f"{path}: a category lacks its id or name; run `wsis data check {path}`") from None


def _pictures(content: dict, root: Root, folder: Path, visible: set[int]) -> list[Picture]:
    labels = {id: label for label, id in enumerate(root.category_ids)}
    try:
        pictures = {
            image["id"]: Picture(image["id"], folder / image["file_name"], image["height"], image["width"])
            for image in content["images"]
        }
        for a in content["annotations"]:
            x, y, w, h = a["bbox"]
            label = labels[a["category_id"]]
            segmentation = a["segmentation"] if label in visible else None
            instance = Instance(a["id"], label, (x, y, x + w, y + h), bool(a.get("iscrowd", 0)), segmentation)
            pictures[a["image_id"]].instances.append(instance)
    except (KeyError, TypeError, ValueError) as error:
        raise WsisError(
            f"{root.path}: an annotation can't be read ({type(error).__name__}: {error});"
            f" run `wsis data check {root.path}` to see which"
        ) from None
    return [pictures[id] for id in sorted(pictures)]
