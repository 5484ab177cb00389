"""Open a data root: check its layout, list its images and instances, and keep unseen masks out of reach.

A root is either COCO's layout (<split>/*.jpg, annotations/instances_<split>.json; `shapes` has it too) or
VOC2012's (see wsis.data.voc). Boxes are xyxy in original pixels. Where the supervision hides an instance's
mask, its segmentation is dropped while the annotation is read: no later code can see it. Under supervision
'semantic' training pictures have no instances at all (their semantic maps: wsis.methods.baiseg.semantic).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from wsis.checksums import DamagedFile, faults
from wsis.data import voc
from wsis.data.annotations import Annotations, Instance, Picture, Pictures, columns
from wsis.data.class_groups import voc_labels
from wsis.data.places import shapes_root
from wsis.data.splits import (
    annotation_files,
    coco_file,
    fingerprint,
    image_folder,
    joint_categories,
    layout,
    split_columns,
)
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError

ONE = 1  # category id where all classes are one (data.classes)


@dataclass
class Root:
    """An opened data root, as `open_root` returns it.

    category_ids: as the data set numbers them, sorted; a contiguous label is a position in it
    train, eval:  the pictures that the recipe uses, in id order; read when first asked for
    proxies:      where the supervision is 'proxy': annotation id -> proxy mask, without those dropped; with
                  recipe.proxy.instances: image id -> objects that replace its own (wsis.proxy.generate);
                  under supervision 'semantic': image id -> the regions of its classes
    cache:        where columns of large annotation files are kept (wsis.data.kept); None: nowhere
    """

    path: Path
    dataset: str
    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]
    recipe: Recipe
    proxies: Mapping[int, Any] | None = None
    cache: Path | None = None

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @cached_property
    def fingerprint(self) -> str:
        """10 hex digits of the training split's annotations; image files are not read."""
        return fingerprint(self.path, self.dataset, self.recipe.data.train, self.cache)

    @cached_property
    def eval_fingerprint(self) -> str:
        """As `fingerprint`, of the evaluation split."""
        return fingerprint(self.path, self.dataset, self.recipe.data.eval, self.cache)

    @cached_property
    def eval_listing(self) -> str:
        """10 hex digits of the evaluation images' ids and file names: what predictions are of."""
        split = self.recipe.data.eval
        if self.dataset == "voc":
            listed = repr(sorted(voc.read_names(self.path, split))).encode()
        else:
            table = split_columns(self.path, self.dataset, split, self.cache, None)
            listed = b"".join(each.tobytes() for each in (table.ids, table.name_ends, table.names))
        return hashlib.sha256(listed).hexdigest()[:10]

    @property
    def classes(self) -> str:
        """10 hex digits of the classes that a network of this root tells apart."""
        named = repr((self.category_ids, self.category_names))
        return hashlib.sha256(named.encode()).hexdigest()[:10]

    @cached_property
    def train(self) -> Pictures:
        """Pictures with an object that is no crowd region; under supervision 'semantic' without instances."""
        data = self.recipe.data
        semantic = data.supervision == "semantic"
        if semantic and self.dataset == "voc":
            table = self._of_classes(data.train)
            rows = np.arange(len(table.ids))
        else:
            table = self.table(data.train)
            visible = mask_classes(data.supervision, self)
            rows = self._annotated(table)
            if data.supervision.startswith("masks"):
                seen = [self.category_ids[label] for label in visible]
                given = np.isin(table.categories, seen) & table.outlined & ~table.crowd
                if not table.counted(given)[rows].any():
                    raise WsisError(
                        f"{self.path}: split '{data.train}' has no mask to learn from (supervision"
                        f" '{data.supervision}'); train a row that learns from boxes"
                    )
        if not len(rows):
            raise WsisError(f"{self.path}: split '{data.train}' has no image with an annotated object")
        supervise = _bare if semantic else self._supervise if self.proxies is not None else None
        visible = set() if semantic else visible
        return self._pictures(data.train, table, rows[: data.train_images], visible, False, supervise)

    def _annotated(self, table: Annotations) -> np.ndarray:
        """Rows of the images with an object to learn; of semantic maps, of those with an annotated one."""
        instances = self.recipe.data.supervision == "proxy" and self.recipe.proxy.instances
        if self.proxies is not None and instances:
            return np.flatnonzero([bool(self.proxies.get(id)) for id in table.ids.tolist()])
        return np.flatnonzero(table.counted(~table.crowd))

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
    def eval(self) -> Pictures:
        """Evaluation pictures, all of them; their instances carry no masks."""
        data = self.recipe.data
        table = self.table(data.eval)
        return self._pictures(data.eval, table, np.arange(len(table.ids))[: data.eval_images], set())

    def with_masks(self, split: str, ids: Set[int] | None = None) -> list[Picture]:
        """Pictures of a split with every instance's mask, crowd regions too: to measure, not to train.

        ids: of the images wanted; None: all. Raises WsisError where a mask is missing.
        """
        table = self.table(split, ids)
        rows = np.arange(len(table.ids)) if ids is None else np.flatnonzero(np.isin(table.ids, list(ids)))
        pictures = list(self._pictures(split, table, rows, set(range(self.num_classes))))
        for picture in pictures:
            for instance in picture.instances:
                if instance.segmentation is None:
                    raise WsisError(f"{picture.path}: annotation {instance.id} has no mask to measure with")
        return pictures

    def _of_classes(self, split: str) -> Annotations:
        """A VOC split's images with an object, without instances: SegmentationObject stays closed."""
        names, images = voc.read_names(self.path, split), []
        for id, name in zip(voc.image_ids(names), names, strict=True):
            classes = voc.read_indices(self.path / "SegmentationClass" / f"{name}.png")
            if np.isin(classes, self.category_ids).any():
                height, width = classes.shape
                images.append({"id": id, "file_name": f"{name}.jpg", "height": height, "width": width})
        return columns({"images": images, "annotations": []})

    def image_ids(self, split: str) -> list[int]:
        """Ids of a split's images in order; VOC's are known without opening an image's files."""
        if self.dataset == "voc":
            return sorted(voc.image_ids(voc.read_names(self.path, split)))
        return split_columns(self.path, self.dataset, split, self.cache, None).ids.tolist()

    def table(self, split: str, ids: Set[int] | None = None) -> Annotations:
        """All that is annotated in a split, masks included: what hides them are its readers."""
        table = split_columns(self.path, self.dataset, split, self.cache, ids)
        if self.recipe.data.classes == "one":
            return replace(table, categories=np.full_like(table.categories, ONE))
        return table

    def _pictures(
        self,
        split: str,
        table: Annotations,
        rows: np.ndarray,
        visible: set[int],
        crowds: bool = True,
        supervise: Callable[[Picture], None] | None = None,
    ) -> Pictures:
        """Raises WsisError for a category that the root does not have."""
        unknown = np.setdiff1d(table.categories, self.category_ids)
        if len(unknown):
            raise WsisError(
                f"{self.path}: an annotation can't be read (category {unknown[0]} is not among the root's);"
                f" run `wsis data check {self.path}` to see which"
            )
        labels = {id: label for label, id in enumerate(self.category_ids)}
        folder = image_folder(self.path, self.dataset, split)
        return Pictures(table, rows, folder, labels, visible, crowds, supervise)


def _bare(picture: Picture) -> None:
    picture.instances = []


def told_of(root: Root) -> dict[str, Any]:
    """What a run's train.json says of its root."""
    return {
        "root_name": root.name,
        "path": str(root.path),
        "train_images": len(root.train),
        "eval_images": len(root.eval),
        "fingerprint": root.fingerprint,
        "classes": root.classes,
        "evaluation": root.eval_fingerprint,
        "eval_listing": root.eval_listing,
    }


def open_root(
    recipe: Recipe, root: Path, proxies: Mapping[int, Any] | None = None, cache: Path | None = None
) -> Root:
    """Open `root` for the recipe's data set and splits; with supervision 'proxy', `proxies` are its masks.

    cache: folder in which columns of large annotation files are kept for other processes
    Raises WsisError naming the folder or file that is missing, or the annotation that can't be read, and
    DamagedFile for one of a drawn root in its own place that has changed since; a copy is the user's.
    """
    path, data = Path(root), recipe.data
    if not path.is_dir():
        what = f"give the root of a {data.dataset} data set"
        if data.dataset == "shapes":
            what = "`wsis data make` with the scale and its seeds draws it"
        raise WsisError(f"{path}: no such folder; {what}")
    for file, text in faults(path).items() if path.name == shapes_root(recipe) else ():
        raise DamagedFile(f"{file}: damaged: {text}; remove {path} and start again, which draws it anew")
    for split in (data.train, data.eval):
        listing = annotation_files(path, data.dataset, split)[0]
        for needed in (listing, image_folder(path, data.dataset, split)):
            if not needed.exists():
                raise WsisError(f"{needed}: missing; {layout(data.dataset, split)}")
    if data.dataset == "voc":
        categories = voc.CATEGORIES
    else:
        categories = joint_categories((coco_file(path, split) for split in (data.train, data.eval)), cache)
    if data.classes == "one":
        categories = {ONE: "object"}
    ids = sorted(categories)
    names = tuple(categories[i] for i in ids)
    return Root(path.resolve(), data.dataset, tuple(ids), names, recipe, proxies, cache)


def mask_classes(supervision: str, root: Root) -> set[int]:
    """Contiguous labels whose masks may be seen in training. Raises WsisError where a group is empty."""
    everything = set(range(root.num_classes))
    if supervision == "masks":
        return everything
    if supervision not in ("masks-voc", "masks-nonvoc"):
        return set()
    group = voc_labels(root.dataset, root.category_names)
    if not group or group == everything:
        raise WsisError(
            f"{root.path}: supervision '{supervision}' needs classes inside and outside VOC's twenty,"
            f" but {len(group)} of {root.num_classes} classes are among them; use a COCO root"
        )
    return group if supervision == "masks-voc" else everything - group
