"""What predictions of a root are evaluated against: images, an annotation file, groups of classes."""

from __future__ import annotations

from pathlib import Path

from wsis.checksums import fault
from wsis.data.class_groups import voc_labels
from wsis.data.roots import ONE, Root
from wsis.data.splits import coco_file, file_categories, read_split
from wsis.declare.recipe import Recipe
from wsis.records import write_record


def eval_image_ids(recipe: Recipe, root: Root) -> list[int]:
    """Ids of the evaluated images: the first data.eval_images in id order."""
    return root.image_ids(recipe.data.eval)[: recipe.data.eval_images]


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
    if fault(file):
        named = zip(root.category_ids, root.category_names, strict=True)
        categories = [{"id": id, "name": name} for id, name in named]
        content = read_split(root.path, root.dataset, split) | {"categories": categories}
        if one:
            content["annotations"] = [each | {"category_id": ONE} for each in content["annotations"]]
        write_record(file, content)
    return file


def category_groups(root: Root) -> dict[str, tuple[int, ...]]:
    """Category ids by class group: "voc", and "nonvoc" for all others."""
    labels = voc_labels(root.dataset, root.category_names)
    voc_ids = tuple(root.category_ids[label] for label in sorted(labels))
    return {"voc": voc_ids, "nonvoc": tuple(id for id in root.category_ids if id not in voc_ids)}
