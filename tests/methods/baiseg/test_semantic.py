"""Semantic maps from every source, painted ones against a slow formulation, and what is refused."""

from __future__ import annotations

import random
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from wsis.data.annotations import Picture
from wsis.data.roots import open_root
from wsis.errors import WsisError
from wsis.methods.baiseg.semantic import VOID, SemanticMaps, paint_classes, paint_instances


def run_lengths(mask):
    """Uncompressed COCO RLE, counted column by column."""
    counts, value = [0], 0
    for pixel in mask.T.ravel():
        if pixel != value:
            counts, value = [*counts, 0], pixel
        counts[-1] += 1
    return {"size": list(mask.shape), "counts": counts}


def slowly_painted(objects, height, width):
    """Each pixel takes the class of the smallest object on it; crowd regions are known to be nothing."""
    semantic = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            here = [(mask.sum(), -label, label) for label, crowd, mask in objects if mask[y, x] and not crowd]
            if here:
                semantic[y, x] = min(here)[2] + 1
            elif any(mask[y, x] for _, crowd, mask in objects if crowd):
                semantic[y, x] = VOID
    return semantic


def scattered(rng, height=14, width=19):
    """Six rectangles that overlap, one of them a crowd region, two of equal size."""
    objects = []
    for index in range(6):
        h, w = (5, 6) if index < 2 else rng.integers(2, 12, 2)
        y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
        mask = np.zeros((height, width), bool)
        mask[y : y + h, x : x + w] = True
        objects.append((int(rng.integers(4)), index == 3, mask))
    return objects


def test_painting_agrees_with_the_rule_pixel_by_pixel():
    tied = 0
    for seed in range(40):
        objects = scattered(np.random.default_rng(seed))
        expected = slowly_painted(objects, 14, 19)
        tied += int((objects[0][2] & objects[1][2]).any() and objects[0][0] != objects[1][0])
        coded = [(label, crowd, run_lengths(mask)) for label, crowd, mask in objects]
        for shuffle in range(3):
            random.Random(shuffle).shuffle(coded)
            assert np.array_equal(paint_classes(coded, 14, 19), expected), "whatever the objects' order"
    assert tied > 5, "objects of equal size overlapped"
    assert not paint_classes((), 3, 4).any() and paint_classes((), 3, 4).shape == (3, 4)


def test_coco_maps_come_from_the_annotations(coco_root, recipe):
    def change(content):
        content["annotations"][1].update(iscrowd=1)
        content["annotations"].append({**content["annotations"][0], "id": 99, "category_id": 7})
        content["annotations"][-1]["segmentation"] = [[6, 6, 9, 6, 9, 9, 6, 9]]

    root = open_root(recipe("coco"), coco_root(change))
    maps = SemanticMaps(root, "train2017")
    first, second, third, fourth = (maps.read(p) for p in root.with_masks("train2017"))
    expected = np.zeros((20, 30), np.uint8)
    expected[5:13, 4:14] = 1
    assert third.dtype == np.uint8 and np.array_equal(third, expected)
    assert np.array_equal(fourth, 2 * expected), "kite is the second class"
    assert np.array_equal(second, VOID * expected), "a crowd region alone"
    expected[6:9, 6:9] = 2
    assert np.array_equal(first, expected), "the small one in front"
    picture = Picture(77, root.path / "other.jpg", 5, 6)
    assert not maps.read(picture).any() and maps.read(picture).shape == (5, 6), "nothing annotated"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(category_id=99), r"instances_train2017\.json: annotation 11 has category 99"),
        (lambda a: a.pop("segmentation"), "annotation 11 has no mask"),
        (lambda a: a.update(segmentation=[]), "annotation 11 has no mask"),
        (lambda a: a.update(segmentation=5), "segmentation of image 1 can't be drawn"),
        (
            lambda a: a.update(segmentation={"size": [9, 8], "counts": [0, 72]}),
            "RLE of size .* but the image is",
        ),
    ],
)
def test_broken_coco_annotations_are_one_clear_error(coco_root, recipe, change, message):
    root = open_root(recipe("coco"), coco_root(lambda content: change(content["annotations"][0])))
    with pytest.raises(WsisError, match=message):
        SemanticMaps(root, "train2017").read(Picture(1, root.path / "train2017" / "1.jpg", 20, 30))


def test_generated_maps_agree_with_the_masks(shapes, recipe):
    root = open_root(recipe(supervision="masks"), shapes)
    maps = SemanticMaps(root, "train")
    for picture in root.train[:20]:
        semantic = maps.read(picture)
        for instance in picture.instances:
            assert (semantic[rle.decode(instance.segmentation) > 0] == instance.label + 1).all()
        assert (semantic > 0).sum() == sum(rle.area(i.segmentation) for i in picture.instances)


@pytest.fixture
def generated(shapes, tmp_path):
    """A copy of a small generated root, and how to write a map of one of its images."""
    root = tmp_path / "shapes"
    shutil.copytree(shapes, root)

    def write(array, source="train", mode="P", stem=None):
        folder = root / "semantic" / source
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.asarray(array, np.uint8))
        if mode == "P":
            image.putpalette([7 * i % 256 for i in range(768)])
        stem = stem or sorted((root / "train").iterdir())[0].stem
        image.convert(mode).save(folder / f"{stem}.png")
        return root

    write.root = root
    return write


def test_maps_of_another_source(generated, recipe):
    root = open_root(recipe(), generated.root)
    with pytest.raises(WsisError, match=r"semantic/ocrnet: missing; put there.*0 background, class pos"):
        SemanticMaps(root, "train", "ocrnet")
    own = np.random.default_rng(0).choice([0, 1, 3, VOID], (96, 96))
    generated(own, "ocrnet")
    maps = SemanticMaps(root, "train", "ocrnet")
    assert np.array_equal(maps.read(root.train[0]), own)
    with pytest.raises(WsisError, match=r"ocrnet/\d+\.png: missing; put the semantic map of \d+\.png there"):
        maps.read(root.train[1])
    assert not np.array_equal(SemanticMaps(root, "train").read(root.train[0]), own)
    shutil.rmtree(root.path / "semantic" / "train")
    with pytest.raises(WsisError, match=r"semantic/train: missing"):
        SemanticMaps(root, "train")


@pytest.mark.parametrize(
    ("array", "mode", "message"),
    [
        (np.zeros((96, 95)), "P", "is 95x96 .width x height., its image 96x96"),
        (np.zeros((48, 48)), "L", "is 48x48"),
        (np.full((96, 96), 4), "P", r"values \[4\] that are no class; use 0, 1 to 3, and 255"),
        (np.arange(96)[None] * np.ones((96, 1)), "L", r"values \[4, 5, 6, 7, 8\]"),
        (np.full((96, 96), 254), "L", r"values \[254\]"),
        (np.zeros((96, 96)), "RGB", "expected a palette PNG, found mode RGB"),
    ],
)
def test_maps_that_do_not_fit_are_refused(generated, recipe, array, mode, message):
    root = open_root(recipe(), generated(array, mode=mode))
    with pytest.raises(WsisError, match=rf"\.png: .*{message}"):
        SemanticMaps(root, "train").read(root.train[0])


def test_a_map_that_is_all_void_is_a_map(generated, recipe):
    root = open_root(recipe(), generated(np.full((96, 96), VOID)))
    assert (SemanticMaps(root, "train").read(root.train[0]) == VOID).all()


def test_a_damaged_map_is_one_clear_error(generated, recipe):
    root = open_root(recipe(), generated(np.zeros((96, 96))))
    file = sorted((root.path / "semantic" / "train").iterdir())[0]
    file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(WsisError, match=r"semantic/train/\d+\.png: can't be read"):
        SemanticMaps(root, "train").read(root.train[0])


def test_instance_maps(coco_root, recipe):
    def change(content):
        content["annotations"][0]["segmentation"] = [[0, 0, 20, 0, 20, 18, 0, 18]]
        for id, crowd, box in ((50, 0, (3, 3, 6, 6)), (51, 0, (6, 3, 9, 6)), (52, 1, (0, 0, 30, 20))):
            x0, y0, x1, y1 = box
            polygon = [[x0, y0, x1, y0, x1, y1, x0, y1]]
            own = {"id": id, "iscrowd": crowd, "segmentation": polygon}
            content["annotations"].append({**content["annotations"][0], **own})

    root = open_root(recipe("coco", supervision="masks"), coco_root(change))
    instances = paint_instances(root.with_masks("train2017")[0])
    assert instances.dtype == np.int16 and instances.shape == (20, 30)
    values, counts = np.unique(instances, return_counts=True)
    assert values.tolist() == [0, 1, 2, 3] and counts.tolist() == [600 - 360, 360 - 18, 9, 9]
    assert len({instances[3:6, 3:6].max(), instances[3:6, 6:9].max()}) == 2, "two of a class that touch"
    hidden = open_root(recipe("coco"), root.path).train[0]
    with pytest.raises(WsisError, match="mask of image 1 is hidden"):
        paint_instances(hidden)


def test_real_coco_maps(shared, recipe):
    root = open_root(recipe("coco", train="val2017", supervision="masks"), shared("coco"))
    maps, crowds = SemanticMaps(root, "val2017"), 0
    for picture in root.with_masks("val2017")[:60]:
        semantic, instances = maps.read(picture), paint_instances(picture)
        assert np.array_equal((semantic > 0) & (semantic != VOID), instances > 0)
        labels = {i.label + 1 for i in picture.instances}
        assert set(np.unique(semantic)) <= {0, VOID, *labels}
        crowds += bool((semantic == VOID).any())
        assert not (semantic == VOID).any() or any(i.crowd for i in picture.instances)
    assert crowds


def test_real_voc_maps(shared, recipe):
    root = open_root(
        recipe("voc", train="train", eval="val", supervision="semantic"), shared("voc_from_coco")
    )
    maps, ground_truth = SemanticMaps(root, "train"), root.with_masks("train")
    assert [p.id for p in root.train] == [p.id for p in ground_truth if p.instances]
    by_id = {picture.id: picture for picture in ground_truth}
    for picture in root.train[:30]:
        semantic, whole = maps.read(picture), by_id[picture.id]
        assert picture.instances == [] and semantic.shape == (whole.height, whole.width)
        for instance in whole.instances:
            inside = semantic[rle.decode(instance.segmentation) > 0]
            assert np.bincount(inside).argmax() == instance.label + 1
