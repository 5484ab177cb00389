"""`wsis data check`: each fault is found, with its file and id, and without a traceback."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsis.data.check.report import check_root


def kinds(report):
    return {finding.kind for finding in report.problems}


def test_a_sound_root_is_ok(coco_root):
    report = check_root(coco_root.root)
    assert report.ok and report.layout == "coco"
    assert report.counts == {"images": 8, "annotations": 8}
    assert report.lines()[-1] == "ok" and str(report).endswith("\nok")


def first(**values):
    return lambda content: content["annotations"][0].update(values)


FAULTS = {
    "image_id": (first(image_id=99), "join", "99"),
    "category_id": (first(category_id=1), "join", "category_id 1"),
    "id 0": (first(id=0), "id 0", "pycocotools"),
    "id twice": (first(id=12), "annotation id", "two annotations"),
    "id text": (first(id="a"), "annotation id", "'a'"),
    "box outside": (first(bbox=[20, 5, 15, 8]), "box", "leaves the image of 30x20"),
    "box empty": (first(bbox=[4, 5, 0, 8]), "box", "empty"),
    "box nan": (first(bbox=[4, math.nan, 10, 8]), "box", "finite"),
    "box short": (first(bbox=[4, 5]), "box", "four"),
    "no box": (lambda c: c["annotations"][0].pop("bbox"), "box", "None"),
    "area nan": (first(area=math.nan), "area", "nan"),
    "area zero": (first(area=0), "area", "positive"),
    "no area": (lambda c: c["annotations"][0].pop("area"), "area", "missing"),
    "no iscrowd": (lambda c: c["annotations"][0].pop("iscrowd"), "iscrowd", "missing"),
    "iscrowd 2": (first(iscrowd=2), "iscrowd", "2"),
    "no mask": (lambda c: c["annotations"][0].pop("segmentation"), "mask", "missing"),
    "mask empty": (first(segmentation=[]), "mask", "no polygon"),
    "mask flat": (first(segmentation=[[4, 5, 4, 5, 4, 5]]), "mask", "empty"),
    "mask short": (first(segmentation=[[4, 5, 14, 5]]), "mask", "three or more"),
    "mask nan": (first(segmentation=[[4, math.nan, 14, 5, 14, 13]]), "mask", "finite"),
    "mask outside": (first(segmentation=[[4, 5, 44, 5, 14, 13]]), "mask", "leaves the image"),
    "rle size": (first(segmentation={"size": [30, 20], "counts": [600]}), "mask", "size"),
    "rle empty": (first(segmentation={"size": [20, 30], "counts": [600]}), "mask", "empty"),
    "rle sum": (first(segmentation={"size": [20, 30], "counts": [10, 20]}), "mask", "add up"),
    "rle negative": (first(segmentation={"size": [20, 30], "counts": [-10, 610]}), "mask", "add up"),
    "rle text": (first(segmentation={"size": [20, 30], "counts": "??\n"}), "mask", "add up"),
    "rle kind": (first(segmentation={"size": [20, 30], "counts": 5}), "mask", "add up"),
    "image size": (lambda c: c["images"][0].update(width=31), "size", "30x20"),
    "image zero": (lambda c: c["images"][0].update(width=0), "image", "not sizes"),
    "image twice": (lambda c: c["images"].append(dict(c["images"][0])), "image id", "two images"),
    "image name": (lambda c: c["images"][0].update(file_name="../secret.jpg"), "image", "not a file below"),
    "image gone": (lambda c: c["images"][0].update(file_name="9.jpg"), "missing", "missing"),
    "category": (lambda c: c["categories"][0].pop("name"), "category", "name"),
    "no list": (lambda c: c.pop("annotations"), "json", "annotations"),
    "not objects": (lambda c: c["images"].append(3), "json", "images"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_coco_root(coco_root, fault):
    change, kind, text = FAULTS[fault]
    report = check_root(coco_root(change))
    found = [finding for finding in report.problems if finding.kind == kind and text in finding.text]
    assert found, report.lines()
    assert all(f.advice and Path(f.file).is_relative_to(coco_root.root) for f in report.problems)
    assert not report.ok and report.lines()[-1].endswith("problem(s)")


def places(tree):
    """Every (container, key) of a JSON tree."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(items):
        yield tree, key
        yield from places(value)


def test_nothing_in_a_json_file_is_a_traceback(coco_root):
    """Each value of the file, one after the other, replaced by things that do not belong there."""
    odd = [
        None,
        True,
        -1,
        10**30,
        10**400,
        math.inf,
        math.nan,
        "",
        "x",
        [],
        {},
        [[]],
        [None],
        {"size": [20, 30], "counts": [True]},
    ]
    changed = 0
    for index in range(60):
        for value in odd:

            def change(content, index=index, value=value):
                del content["images"][1:], content["annotations"][1:]
                content["annotations"][0]["segmentation"] = [[4, 5, 14, 5, 14, 13]]
                container, key = (list(places(content)) * 2)[index]
                container[key] = value

            report = check_root(coco_root(change), decode=False)
            changed += not report.ok
            assert report.lines()
    assert changed > 300


def test_the_finding_names_the_annotation(coco_root):
    (finding,) = check_root(coco_root(first(area=-1))).problems
    assert finding.id == 11 and finding.file.endswith("instances_train2017.json")


def test_broken_files(coco_root):
    root = coco_root.root
    image = root / "train2017" / "1.jpg"
    image.write_bytes(image.read_bytes()[:-100])
    (root / "train2017" / "2.jpg").write_text("this is no image")
    (root / "train2017" / "3.jpg").write_bytes(b"")
    (root / "train2017" / "4.jpg").unlink()
    for decode in (True, False, None):
        report = check_root(root, decode=decode)
        assert [(f.kind, f.id) for f in report.problems] == [
            ("unreadable", 1), ("unreadable", 2), ("unreadable", 3), ("missing", 4)
        ]  # fmt: skip


def test_damage_inside_a_file_needs_decoding(coco_root):
    image = coco_root.root / "train2017" / "1.png"
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(noise).save(image)
    data = bytearray(image.read_bytes())
    data[100:140] = bytes(40)
    image.write_bytes(data)
    root = coco_root(lambda content: content["images"][0].update(file_name="1.png"))
    assert check_root(root, decode=False).ok
    assert kinds(check_root(root, decode=True)) == {"unreadable"}


def test_broken_json_and_missing_folders(coco_root):
    root = coco_root.root
    shutil.rmtree(root / "val2017")
    file = root / "annotations" / "instances_train2017.json"
    for text in (file.read_text()[:50], "", "[1]", "[" * 100000):
        file.write_text(text)
        assert kinds(check_root(root)) == {"json", "folder"}
    shutil.rmtree(root / "annotations")
    assert kinds(check_root(root)) == {"root"} == kinds(check_root(root / "nowhere"))
    (root / "annotations").mkdir()
    assert kinds(check_root(root)) == {"annotations"}


def test_greyscale_crowd_and_bare_images_are_notes(coco_root):
    Image.new("L", (30, 20)).save(coco_root.root / "train2017" / "1.jpg")

    def change(content):
        content["annotations"][1]["iscrowd"] = 1
        del content["annotations"][3]

    report = check_root(coco_root(change))
    assert report.ok and {n.kind for n in report.notes} >= {"grey", "crowd", "no annotation"}


def test_many_findings_are_summed_up(coco_root):
    def change(content):
        one = content["annotations"][0]
        content["annotations"] = [{**one, "id": 100 + i, "image_id": 99} for i in range(50)]

    lines = check_root(coco_root(change)).lines()
    assert "problem: 40 more of 'join'" in lines and lines[-1] == "50 problem(s)"


def test_shapes_pass_and_their_area_scale_is_understood(shapes):
    report = check_root(shapes)
    assert report.ok and "area" not in {n.kind for n in report.notes}


@pytest.mark.parametrize("name", ["coco", "voc", "voc_from_coco", "salient"])
def test_real_roots_pass(shared, name):
    report = check_root(shared(name))
    assert report.ok, report.lines()
    assert report.layout == name.split("_")[0] and report.counts["images"] > 0


@pytest.fixture
def voc_root(tmp_path):
    root = tmp_path / "voc"
    for folder in (
        "JPEGImages",
        "SegmentationClass",
        "SegmentationObject",
        "ImageSets/Segmentation",
        "Annotations",
    ):
        (root / folder).mkdir(parents=True)
    for name in ("a", "b"):
        values = np.zeros((12, 20), np.uint8)
        values[3:9, 2:8] = 1
        Image.fromarray(values).save(root / "SegmentationObject" / f"{name}.png")
        Image.fromarray(values * 5).save(root / "SegmentationClass" / f"{name}.png")
        Image.new("RGB", (20, 12)).save(root / "JPEGImages" / f"{name}.jpg")
        box = "<bndbox><xmin>3</xmin><ymin>4</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
        (root / "Annotations" / f"{name}.xml").write_text(f"<annotation><object>{box}</object></annotation>")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("a\nb\n")
    return root


def test_faults_of_a_voc_root(voc_root):
    assert check_root(voc_root).ok
    listing = voc_root / "ImageSets" / "Segmentation" / "val.txt"
    Image.fromarray(np.full((12, 20), 77, np.uint8)).save(voc_root / "SegmentationClass" / "a.png")
    Image.new("RGB", (21, 12)).save(voc_root / "JPEGImages" / "b.jpg")
    (voc_root / "Annotations" / "a.xml").write_text("<annotation><object>")
    xml = voc_root / "Annotations" / "b.xml"
    xml.write_text(xml.read_text().replace("<xmax>8<", "<xmax>80<"))
    listing.write_text("a\nb\nb\nc\n../d\n")
    report = check_root(voc_root)
    assert kinds(report) == {"class", "size", "xml", "box", "split", "mask", "missing"}, report.lines()
    assert {f.id for f in report.problems if f.kind == "missing"} == {"c"}


def test_faults_of_a_saliency_root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, size in (("a", (9, 7)), ("b", (9, 7)), ("c", (7, 9))):
        Image.new("RGB", (9, 7)).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", size, 0 if name == "b" else 255).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("a\n")
    assert check_root(tmp_path).ok
    (tmp_path / "train.txt").write_text("a\nb\nc\nd\n")
    report = check_root(tmp_path)
    assert {(f.kind, f.id) for f in report.problems} == {
        ("mask", "b"),
        ("size", "c"),
        ("mask", "d"),
        ("missing", "d"),
    }
    assert json.dumps([str(f) for f in report.problems])
