"""Opening roots: layout, ids, class groups, fingerprints, VOC."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from wsis.checksums import LIST, DamagedFile
from wsis.data.ground_truth import eval_annotations, eval_image_ids
from wsis.data.places import shapes_root
from wsis.data.roots import mask_classes, open_root
from wsis.data.shapes.write import write_shapes
from wsis.declare.specs.data import ShapesSpec
from wsis.errors import WsisError


def test_contiguous_labels_are_positions_of_sorted_ids(coco_root, recipe):
    root = open_root(recipe("coco"), coco_root.root)
    assert root.category_ids == (3, 7) and root.category_names == ("person", "kite") and root.num_classes == 2
    assert [p.instances[0].label for p in root.train] == [0, 1, 0, 1]
    assert root.train[0].instances[0].box == (4, 5, 14, 13)


def test_crowd_and_bare_images_are_left_out_of_training_only(coco_root, recipe):
    def change(content):
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1:3] = []

    coco_root(change)
    coco_root(change, "val2017")
    root = open_root(recipe("coco"), coco_root.root)
    assert [p.id for p in root.train] == [4]
    assert [p.id for p in root.eval] == [1, 2, 3, 4]


def test_limits_keep_the_first_in_id_order(coco_root, recipe):
    for split in ("train2017", "val2017"):
        coco_root(lambda content: content["images"].reverse(), split)
    r = recipe("coco", train_images=2, eval_images=3)
    root = open_root(r, coco_root.root)
    assert [p.id for p in root.train] == [1, 2]
    assert [p.id for p in root.eval] == [1, 2, 3] == eval_image_ids(r, root)
    assert (len(root.train), len(root.eval)) == (2, 3)


def test_missing_parts_are_named(coco_root, recipe):
    root = coco_root.root
    with pytest.raises(WsisError, match=r"nowhere.*no such folder"):
        open_root(recipe("coco"), root / "nowhere")
    (root / "annotations" / "instances_train2017.json").rename(root / "kept.json")
    with pytest.raises(WsisError, match=r"instances_train2017\.json: missing"):
        open_root(recipe("coco"), root)
    (root / "kept.json").rename(root / "annotations" / "instances_train2017.json")
    shutil.rmtree(root / "val2017")
    with pytest.raises(WsisError, match="val2017: missing"):
        open_root(recipe("coco"), root)


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["annotations"][0].update(image_id=99),
        lambda c: c["annotations"][0].update(category_id=99),
        lambda c: c["annotations"][0].pop("bbox"),
        lambda c: c["annotations"][0].update(bbox=[1, 2, 3]),
        lambda c: c["images"][0].pop("height"),
        lambda c: c.update(images={}),
        lambda c: c["annotations"].append(5),
    ],
)
def test_a_broken_annotation_is_one_clear_error(coco_root, recipe, change):
    coco_root(change)
    with pytest.raises(WsisError, match=r"wsis data check|expected a COCO"):
        _ = open_root(recipe("coco"), coco_root.root).train


def test_truncated_json_is_one_clear_error(coco_root, recipe):
    file = coco_root.root / "annotations" / "instances_val2017.json"
    file.write_text(file.read_text()[:-20])
    with pytest.raises(WsisError, match=r"instances_val2017\.json: can't be read as JSON"):
        open_root(recipe("coco"), coco_root.root)


def test_fingerprints_of_training_classes_and_evaluation_are_apart(coco_root, recipe):
    def three(**data):
        root = open_root(recipe("coco", **data), coco_root.root)
        return root.fingerprint, root.eval_fingerprint, root.classes

    before = three()
    assert before == three(seed=5, train_images=1)
    assert all(len(part) == 10 and int(part, 16) >= 0 for part in before)

    def same():
        return tuple(a == b for a, b in zip(before, three(), strict=True))

    for split, expected in (("train2017", (False, True, True)), ("val2017", (True, False, True))):
        coco_root(lambda content: content["annotations"][0].update(area=81), split)
        assert same() == expected
        coco_root(split=split)
    coco_root(lambda content: content["categories"].append({"id": 9, "name": "cup"}), "val2017")
    assert same() == (True, False, False)


def test_class_groups_split_masks(coco_root, recipe):
    for supervision, seen in (("masks-voc", {0}), ("masks-nonvoc", {1}), ("masks", {0, 1}), ("boxes", set())):
        r = recipe("coco", supervision=supervision)
        root = open_root(r, coco_root.root)
        assert mask_classes(supervision, root) == seen
        given = {i.label for p in root.train for i in p.instances if i.segmentation is not None}
        assert given == seen


def test_a_group_that_is_empty_or_everything_is_refused(coco_root, recipe):
    for names in (("person", "dog"), ("kite", "skis")):

        def change(content, names=names):
            for category, name in zip(content["categories"], names, strict=True):
                category["name"] = name

        coco_root(change)
        coco_root(change, "val2017")
        root = open_root(recipe("coco", supervision="masks-voc"), coco_root.root)
        with pytest.raises(WsisError, match="inside and outside"):
            _ = root.train


@pytest.fixture
def voc_root(voc_folders):
    """Two images: a bottle (5) and a cat (8) with a void band between them, and one without objects."""
    root = voc_folders
    for name, filled in (("2007_000001", True), ("2008_000002", False)):
        objects, classes = np.zeros((2, 12, 20), np.uint8)
        if filled:
            objects[3:9, 2:8], classes[3:9, 2:8] = 1, 5
            objects[3:9, 10:16], classes[3:9, 10:16] = 2, 8
            objects[3:9, 8:10] = classes[3:9, 8:10] = 255
        for folder, array in (("SegmentationObject", objects), ("SegmentationClass", classes)):
            image = Image.fromarray(array)
            image.putpalette([7 * i % 256 for i in range(768)])
            image.save(root / folder / f"{name}.png")
        Image.fromarray(np.zeros((12, 20, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.jpg")
    for split in ("train_aug", "val"):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("2007_000001\n2008_000002\n")
    return root


def test_voc_instances_are_the_png_values_without_void(voc_root, recipe, tmp_path):
    r = recipe("voc", train="train_aug", eval="val", supervision="masks")
    root = open_root(r, voc_root)
    assert root.num_classes == 20
    assert [p.id for p in root.eval] == [2007000001, 2008000002]
    (picture,) = root.train
    assert [(i.label, i.box) for i in picture.instances] == [(4, (2, 3, 8, 9)), (7, (10, 3, 16, 9))]
    assert [int(rle.area(i.segmentation)) for i in picture.instances] == [36, 36]
    file = eval_annotations(root, tmp_path / "out")
    content = json.loads(file.read_text())
    assert len(content["annotations"]) == 2 and len(content["categories"]) == 20
    assert eval_annotations(root, tmp_path / "out") == file and len(list(file.parent.glob("[!.]*"))) == 1
    file.write_text("[")  # damaged: made again
    assert json.loads(eval_annotations(root, tmp_path / "out").read_text()) == content


def test_voc_layout_errors_name_the_missing_part(voc_root, recipe):
    with pytest.raises(WsisError, match=r"train\.txt: missing.*train_aug"):
        open_root(recipe("voc", train="train", eval="val"), voc_root)
    (voc_root / "SegmentationClass" / "2007_000001.png").unlink()
    with pytest.raises(WsisError, match=r"2007_000001\.png"):
        _ = open_root(recipe("voc", train="train_aug", eval="val"), voc_root).train


@pytest.mark.parametrize("name", ["voc", "voc_from_coco"])
def test_real_voc_roots_open(shared, recipe, name):
    root = open_root(recipe("voc", train="train", eval="val", supervision="masks"), shared(name))
    for picture in root.train:
        for i in picture.instances:
            assert list(rle.toBbox(i.segmentation)) == [
                i.box[0],
                i.box[1],
                i.box[2] - i.box[0],
                i.box[3] - i.box[1],
            ]
    assert len({p.id for p in root.eval}) == len(root.eval)


def test_classes_are_those_of_both_splits(coco_root, recipe, tmp_path):
    coco_root(lambda c: c["categories"].append({"id": 5, "name": "cup"}))
    coco_root(lambda c: c["categories"].append({"id": 9, "name": "fork"}), "val2017")
    root = open_root(recipe("coco"), coco_root.root)
    assert root.category_names == ("person", "cup", "kite", "fork")
    file = eval_annotations(root, tmp_path / "truth")
    assert file.parent == tmp_path / "truth"
    assert [category["id"] for category in json.loads(file.read_text())["categories"]] == [3, 5, 7, 9]


def test_classes_that_disagree_are_refused(coco_root, recipe):
    coco_root(lambda c: c["categories"].reverse(), "val2017")
    assert open_root(recipe("coco"), coco_root.root).category_ids == (3, 7)
    for values in ({"name": "people"}, {"id": 4}):
        coco_root(lambda c, values=values: c["categories"][0].update(values), "val2017")
        with pytest.raises(WsisError, match=r"val2017\.json.*train2017\.json"):
            open_root(recipe("coco"), coco_root.root)


def test_what_a_supervision_does_not_read_may_be_missing(coco_root, recipe):
    def change(content):
        for annotation, value in zip(content["annotations"], ([], None, {}, "absent"), strict=True):
            annotation.update(segmentation=value, iscrowd=None)
            del annotation["area"]
        del content["annotations"][3]["segmentation"]

    root = coco_root(change)
    assert len(open_root(recipe("coco"), root).train) == 4
    with pytest.raises(WsisError, match="no mask to learn from"):
        _ = open_root(recipe("coco", supervision="masks"), root).train
    with pytest.raises(WsisError, match="annotation 11 has no mask to measure with"):
        open_root(recipe("coco"), root).with_masks("train2017")
    coco_root(lambda content: content["annotations"][0].update(segmentation=[]))
    pictures = open_root(recipe("coco", supervision="masks"), root).train
    assert [p.instances[0].segmentation is None for p in pictures] == [True, False, False, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(bbox=["4", "5", "10", "8"]), "finite numbers"),
        (lambda c: c["annotations"][0].update(bbox=[4, 5, 10, float("nan")]), "finite numbers"),
        (lambda c: c["annotations"][0].update(iscrowd="0"), "not 0 or 1"),
        (lambda c: c["images"][0].update(id="1"), "whole numbers"),
        (lambda c: c["images"][0].update(height="20"), "whole numbers"),
        (lambda c: c["images"][0].update(file_name="../1.jpg"), "leaves the folder"),
        (lambda c: c["images"][0].update(file_name="/etc/1.jpg"), "leaves the folder"),
        (lambda c: c["images"][0].update(file_name="a/../../1.jpg"), "leaves the folder"),
    ],
)
def test_values_of_a_wrong_kind_are_refused(coco_root, recipe, change, message):
    with pytest.raises(WsisError, match=message):
        _ = open_root(recipe("coco"), coco_root(change)).train


def test_a_voc_image_without_masks_has_the_boxes_of_its_xml(voc_root, recipe):
    (voc_root / "SegmentationObject" / "2007_000001.png").unlink()
    box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    xml = voc_root / "Annotations" / "2007_000001.xml"
    xml.write_text(
        "<annotation><size><width>20</width><height>12</height></size>"
        f"<object><name>bottle</name>{box}</object></annotation>"
    )
    r = recipe("voc", train="train_aug", eval="val")
    (picture,) = open_root(r, voc_root).train
    assert [(i.label, i.box) for i in picture.instances] == [(4, (2, 3, 8, 9))], "as tight as the mask's"
    before = open_root(r, voc_root).fingerprint
    xml.write_text(xml.read_text().replace("bottle", "cat"))
    assert open_root(r, voc_root).fingerprint != before
    xml.write_text(xml.read_text().replace("cat", "kite"))
    with pytest.raises(WsisError, match="'kite' is none of VOC's classes"):
        _ = open_root(r, voc_root).train


def test_names_of_a_voc_list(voc_root, recipe):
    sets = voc_root / "ImageSets" / "Segmentation"
    for folder, suffix in (
        ("JPEGImages", "jpg"),
        ("SegmentationClass", "png"),
        ("SegmentationObject", "png"),
    ):
        (voc_root / folder / f"2007_000001.{suffix}").rename(voc_root / folder / f"my photo.{suffix}")
    (sets / "train_aug.txt").write_bytes(b"\xef\xbb\xbfmy photo \r\n\r\n2008_000002\r\n")
    r = recipe("voc", train="train_aug", eval="val")
    (sets / "val.txt").write_text("2008_000002\n")
    (picture,) = open_root(r, voc_root).train
    assert picture.path.name == "my photo.jpg" and picture.id == 1
    (sets / "train_aug.txt").write_text("../my photo\n")
    with pytest.raises(WsisError, match="not an image's name"):
        _ = open_root(r, voc_root).train


def test_a_drawn_root_that_has_changed_is_refused(tmp_path, recipe):
    spec, place = ShapesSpec(train_images=3, val_images=2), tmp_path / shapes_root(recipe())
    root = write_shapes(spec, 0, place)
    path, status = root / "train" / "000002.png", (root / "train" / "000002.png").stat()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DamagedFile, match=rf"000002\.png: damaged: .*; remove {root} and start again"):
        open_root(recipe(), root)
    assert open_root(recipe(), shutil.copytree(root, tmp_path / "mine")), "a copy may be changed"


def test_a_users_own_list_of_checksums_is_none_of_ours(coco_root, recipe):
    root = coco_root()
    (root / LIST).write_text("of somebody's own form\n")
    assert len(open_root(recipe("coco"), root).train)
