"""Image files: missing, damaged, of other depths and orientations."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.data.check.changes import kinds
from wsis.data.check.root import check_root


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


def test_greyscale_crowd_and_bare_images_are_notes(coco_root):
    Image.new("L", (30, 20)).save(coco_root.root / "train2017" / "1.jpg")

    def change(content):
        content["annotations"][1]["iscrowd"] = 1
        del content["annotations"][3]

    report = check_root(coco_root(change))
    assert report.ok and {n.kind for n in report.notes} >= {"grey", "crowd", "no annotation"}
