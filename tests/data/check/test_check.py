"""`wsis data check`: each fault is found, with its file and id, and without a traceback."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsis.data.check.report import Uses, check_root
from wsis.evaluation.guard import GuardError, read_truth


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


EVALUATION = {
    "id 0": (first(id=0), "pycocotools"),
    "area negative": (first(area=-1), "'area' must be"),
    "area text": (first(area="80"), "'area' must be"),
    "no area": (lambda c: c["annotations"][0].pop("area"), "'area' must be"),
    "no iscrowd": (lambda c: c["annotations"][0].pop("iscrowd"), "'iscrowd' must be"),
    "iscrowd true": (first(iscrowd=True), "'iscrowd' must be"),
    "no mask": (lambda c: c["annotations"][0].pop("segmentation"), "no mask"),
    "mask of a box": (first(segmentation=[[4, 5, 14, 13]]), "three points"),
    "runs too long": (first(segmentation={"size": [20, 30], "counts": [10**30]}), "integers"),
    "name twice": (lambda c: c["categories"][1].update(name="person"), "given twice"),
    "size text": (lambda c: c["images"][0].update(width="30"), "'width' must be an integer"),
}


@pytest.mark.parametrize("fault", EVALUATION)
def test_what_evaluation_refuses_is_refused_by_the_check_in_its_own_words(coco_root, fault):
    change, text = EVALUATION[fault]
    root = coco_root(change, "val2017")
    found = [finding for finding in check_root(root).problems if finding.kind == "evaluation"]
    assert len(found) == 1 and text in found[0].text
    with pytest.raises(GuardError, match=text):
        read_truth(root / "annotations" / "instances_val2017.json")


def strip(*keys):
    return lambda content: [a.pop(key) for a in content["annotations"] for key in keys]


UNREAD = {
    "no mask, area, iscrowd": strip("segmentation", "area", "iscrowd"),
    "empty mask": lambda c: [a.update(segmentation=[]) for a in c["annotations"]],
    "null": lambda c: [a.update(segmentation=None, area=None, iscrowd=None) for a in c["annotations"]],
    "area 0": lambda c: [a.update(segmentation={}, area=0) for a in c["annotations"]],
    "id 0": lambda c: [a.update(id=n, segmentation=[]) for n, a in enumerate(c["annotations"])],
}


@pytest.mark.parametrize("case", UNREAD)
def test_what_boxes_suffice_without_is_a_note(coco_root, case):
    root = coco_root(UNREAD[case])
    for uses in (Uses(), Uses(supervisions=frozenset({"boxes"}))):
        report = check_root(root, uses=uses)
        assert report.ok, report.lines()
        assert "rows that learn masks can't run" in str(report)
    report = check_root(root, uses=Uses(supervisions=frozenset({"boxes", "masks"})))
    assert kinds(report) == {"no mask"}


def test_an_undecodable_mask_is_a_fault_where_masks_are_read(coco_root):
    root = coco_root(first(segmentation=[[4, 5, 14, 5]]))
    for supervisions in (None, frozenset({"masks-voc"})):
        (problem,) = check_root(root, uses=Uses(supervisions=supervisions)).problems
        assert problem.id == 11 and problem.file.endswith("instances_train2017.json")
    report = check_root(root, uses=Uses(supervisions=frozenset({"boxes"})))
    assert report.ok and "1 mask(s) that can't be decoded" in str(report)


def test_ground_truth_without_masks_is_refused_unless_only_predictions_are_wanted(coco_root):
    root = coco_root(strip("segmentation"), "val2017")
    (problem,) = check_root(root).problems
    assert "mask AP needs masks" in problem.text and "val2017" in problem.file
    report = check_root(root, uses=Uses(predict_only=True))
    assert report.ok and "AP can't be measured" in str(report)


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


def test_what_else_the_check_says(coco_root):
    def change(content):
        content["images"].append(content["images"][0] | {"id": 5})
        content["annotations"].append(content["annotations"][0] | {"id": 98})
        content["annotations"] += [
            content["annotations"][1] | {"id": 100 + n, "bbox": [4, 5, 10, 8 - n / 50]} for n in range(101)
        ]

    report = check_root(coco_root(change, "val2017"))
    assert report.ok and {n.kind for n in report.notes} >= {"doubled image", "doubled", "many objects"}
    crowd = coco_root(lambda c: [a.update(iscrowd=1) for a in c["annotations"]])
    assert "crowd" in kinds(check_root(crowd))
    assert "no object" in kinds(check_root(coco_root(lambda c: c["annotations"].clear())))


def test_a_file_with_byte_order_mark_is_read(coco_root):
    file = coco_root.root / "annotations" / "instances_train2017.json"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert check_root(coco_root.root).ok


def test_another_ending_is_named(coco_root):
    (coco_root.root / "train2017" / "1.jpg").rename(coco_root.root / "train2017" / "1.JPG")
    (problem,) = check_root(coco_root.root).problems
    assert problem.kind == "missing" and "1.JPG is there" in problem.advice


def save(root, array, name="1.tif", split="train2017", **options):
    """Put a picture into a root of 20 x 30 images, in place of its first."""
    Image.fromarray(array).save(root / split / name, **options)
    return lambda content: content["images"][0].update(file_name=name)


def test_pixels_that_are_not_8_bit(coco_root):
    deep = np.full((20, 30), 30000, np.uint16)
    report = check_root(coco_root(save(coco_root.root, deep)))
    assert report.ok and "16 bits" in {n.kind for n in report.notes} and "dark" not in str(report)
    report = check_root(coco_root(save(coco_root.root, deep // 10)))
    assert report.ok and "dark" in {n.kind for n in report.notes}
    for array in (deep.astype(np.int32), deep.astype(np.float32)):
        (problem,) = check_root(coco_root(save(coco_root.root, array))).problems
        assert problem.kind == "pixels" and problem.id == 1


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif.tobytes()


@pytest.mark.parametrize("name", ["1.jpg", "1.png", "1.webp"])
def test_an_exif_orientation_is_named_where_it_explains_the_size(coco_root, name):
    picture = np.zeros((30, 20, 3), np.uint8)
    change = save(coco_root.root, picture, name, exif=oriented(6))
    (problem,) = check_root(coco_root(change), decode=False).problems
    assert problem.kind == "exif" and "orientation 6" in problem.text and problem.id == 1
    change = save(coco_root.root, picture, name, exif=oriented(3))
    (problem,) = check_root(coco_root(change)).problems
    assert problem.kind == "size", "half a turn changes no size"
    change = save(coco_root.root, picture.transpose(1, 0, 2).copy(), name, exif=oriented(3))
    report = check_root(coco_root(change))
    assert report.ok and "exif" in {n.kind for n in report.notes}


LAYOUTS = {
    "yolo": ("data.yaml", "names: [a]", "from_yolo"),
    "cvat": ("annotations.xml", "<annotations/>", "COCO 1.0"),
    "labelme": ("images/1.json", '{"shapes": [], "imagePath": "1.jpg"}', "from_labelme"),
    "voc boxes": ("Annotations/1.xml", "<annotation/>", "from_pascal_voc"),
    "coco export": ("train/_annotations.coco.json", "{}", "instances_<split>.json"),
    "unknown": ("annotations/train.json", "{}", "instances_<split>.json"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_layouts_are_recognised(tmp_path, layout):
    name, text, advice = LAYOUTS[layout]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    report = check_root(tmp_path)
    (problem,) = report.problems
    assert report.layout == layout and advice in problem.advice


def test_the_finding_names_the_annotation(coco_root):
    (finding,) = check_root(coco_root(first(bbox=[4, 5, 0, 8]))).problems
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
    assert kinds(check_root(root)) == {"root"}


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


def test_a_voc_root_with_boxes_alone_in_train(voc_root):
    """Names may hold blanks, and the list a byte order mark."""
    sets = voc_root / "ImageSets" / "Segmentation"
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (voc_root / folder / f"b.{suffix}").rename(voc_root / folder / f"b 1.{suffix}")
    (voc_root / "SegmentationObject" / "b.png").unlink()
    xml = voc_root / "Annotations" / "b 1.xml"
    size = "<size><width>20</width><height>12</height></size>"
    text = xml.read_text().replace("<object>", f"{size}<object><name>cat</name>")
    xml.write_text(text)
    (sets / "val.txt").write_text("a\n")
    (sets / "train.txt").write_bytes(b"\xef\xbb\xbfb 1\n")
    report = check_root(voc_root)
    assert report.ok, report.lines()
    assert "boxes" in {n.kind for n in report.notes}
    assert kinds(check_root(voc_root, uses=Uses(supervisions=frozenset({"masks"})))) == {"mask"}
    (voc_root / "SegmentationClass" / "b.png").rename(voc_root / "SegmentationClass" / "b 1.png")
    assert check_root(voc_root, uses=Uses(supervisions=frozenset({"semantic"}))).ok
    (sets / "val.txt").write_text("a\nb 1\n")
    assert kinds(check_root(voc_root)) == {"mask"}
    (sets / "val.txt").write_text("a\n")
    xml.write_text(text.replace("cat", "kite"))
    (problem,) = check_root(voc_root).problems
    assert "'kite' is none of VOC's classes" in problem.text
