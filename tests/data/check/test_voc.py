"""Faults of a VOC root."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data.check.changes import kinds
from wsis.data.check.report import Uses
from wsis.data.check.root import check_root


@pytest.fixture
def voc_root(voc_folders):
    root = voc_folders
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
