"""Faults of a COCO root: each is found, with its file and id, and without a traceback."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest

from tests.data.check.changes import first, kinds, strip
from wsis.data.check.report import Uses
from wsis.data.check.root import check_root

FAULTS = {
    "image_id": (first(image_id=99), "join", "99"),
    "category_id": (first(category_id=1), "join", "category_id 1"),
    "id twice": (first(id=12), "annotation id", "two annotations"),
    "id text": (first(id="a"), "annotation id", "'a'"),
    "box outside": (first(bbox=[20, 5, 15, 8]), "box", "leaves the image of 30x20"),
    "box empty": (first(bbox=[4, 5, 0, 8]), "box", "empty"),
    "box nan": (first(bbox=[4, math.nan, 10, 8]), "box", "finite"),
    "box short": (first(bbox=[4, 5]), "box", "four"),
    "no box": (lambda c: c["annotations"][0].pop("bbox"), "box", "None"),
    "iscrowd 2": (first(iscrowd=2), "iscrowd", "2"),
    "mask flat": (first(segmentation=[[4, 5, 4, 5, 4, 5]]), "mask", "empty"),
    "mask short": (first(segmentation=[[4, 5, 14, 5]]), "mask", "three points or more"),
    "mask nan": (first(segmentation=[[4, math.nan, 14, 5, 14, 13]]), "mask", "finite"),
    "mask outside": (first(segmentation=[[4, 5, 44, 5, 14, 13]]), "mask", "leaves the image"),
    "rle size": (first(segmentation={"size": [30, 20], "counts": [600]}), "mask", "size"),
    "rle empty": (first(segmentation={"size": [20, 30], "counts": [600]}), "mask", "empty"),
    "rle sum": (first(segmentation={"size": [20, 30], "counts": [10, 20]}), "mask", "covers 30 pixels"),
    "rle negative": (first(segmentation={"size": [20, 30], "counts": [-10, 610]}), "mask", "negative run"),
    "rle text": (first(segmentation={"size": [20, 30], "counts": "??\n"}), "mask", "alphabet"),
    "rle kind": (first(segmentation={"size": [20, 30], "counts": 5}), "mask", "neither text nor a list"),
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


def test_splits_are_judged_by_their_use(coco_root):
    root = coco_root(strip("area"))
    assert check_root(root).ok
    reversed_ = Uses(train=frozenset({"val2017"}), eval=frozenset({"train2017"}))
    assert kinds(check_root(root, uses=reversed_)) == {"evaluation"}
    assert check_root(root, uses=Uses(train=frozenset(), eval=frozenset({"val2017"}))).counts["images"] == 4


def test_a_split_that_is_asked_for_is_there(coco_root):
    report = check_root(coco_root(), uses=Uses(train=frozenset({"mine"})))
    assert kinds(report) == {"split"} and "instances_mine.json" in report.problems[0].file
    (coco_root.root / "annotations" / "instances_val2017.json").unlink()
    report = check_root(coco_root.root)
    assert report.ok and "no split to evaluate on" in str(report)


def test_classes_that_disagree_are_refused_naming_both_files(coco_root):
    for change in (
        lambda c: c["categories"].reverse() or [k.update(id=10 - k["id"]) for k in c["categories"]],
        lambda c: c["categories"][0].update(name="Person"),
        lambda c: c["categories"][0].update(id=4),
    ):
        report = check_root(coco_root(change, "val2017"))
        (finding,) = [f for f in report.problems if f.kind == "classes"]
        assert "train2017" in str(finding) and "val2017" in str(finding)


def test_classes_of_one_file_alone_are_a_note(coco_root):
    report = check_root(coco_root(lambda c: c["categories"].append({"id": 9, "name": "cup"}), "val2017"))
    assert report.ok and "9 ('cup')" in str(report)


def test_a_file_with_byte_order_mark_is_read(coco_root):
    file = coco_root.root / "annotations" / "instances_train2017.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert check_root(coco_root.root).ok


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
    assert kinds(check_root(root)) == {"root"}
