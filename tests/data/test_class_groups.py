"""The twenty VOC classes and the others, in COCO's layout and in `shapes`."""

from __future__ import annotations

from wsis.data.ground_truth import category_groups
from wsis.data.roots import mask_classes, open_root


def test_shapes_use_their_first_class_as_the_group(shapes, recipe):
    root = open_root(recipe(), shapes)
    assert mask_classes("masks-voc", root) == {0} and mask_classes("masks-nonvoc", root) == {1, 2}
    assert category_groups(root) == {"voc": (1,), "nonvoc": (2, 3)}


def test_all_voc_names_exist_in_coco(shared, recipe):
    root = open_root(recipe("coco"), shared("coco"))
    assert root.num_classes == 80
    assert len(mask_classes("masks-voc", root)) == 20 and len(mask_classes("masks-nonvoc", root)) == 60
    assert category_groups(root)["voc"][:8] == (1, 2, 3, 4, 5, 6, 7, 9), "person to boat, without truck (8)"
