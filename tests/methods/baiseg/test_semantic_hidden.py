"""No instance can be told from the crops that BAISeg trains on."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as rle

from tests.methods.baiseg.semantic_streams import NAMES, alike, baiseg, painted_root, take
from wsis.data.roots import open_root
from wsis.errors import WsisError
from wsis.methods.baiseg.batches import dev_samples, semantic_samples


@pytest.fixture
def painted(coco_root):
    return painted_root(coco_root)


def merged(content):
    """One object of each class and image in the place of all; ids, order and boxes anew."""
    groups = {}
    for a in content["annotations"]:
        groups.setdefault((a["image_id"], a["category_id"], a["iscrowd"]), []).append(a)
    content["annotations"] = []
    for (image, category, crowd), group in groups.items():
        sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
        codes = [a["segmentation"] for a in group]
        codes = [rle.merge(rle.frPyObjects(c, *sizes[image])) if isinstance(c, list) else c for c in codes]
        code = rle.merge(codes)
        whole = {"size": list(code["size"]), "counts": code["counts"].decode()}
        box = rle.toBbox(code).tolist()
        own = {"id": 1000 + len(content["annotations"]), "bbox": box, "area": 1, "segmentation": whole}
        own |= {"image_id": image, "category_id": category, "iscrowd": crowd}
        content["annotations"].append(own)


def permuted(content):
    """The objects in another order, their ids exchanged."""
    ids = [a["id"] for a in content["annotations"]]
    random.Random(0).shuffle(ids)
    random.Random(1).shuffle(content["annotations"])
    for a, id in zip(content["annotations"], ids, strict=True):
        a["id"] = id


def split_up(content):
    """Every object cut into its left and its right half."""
    halves = []
    sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
    for a in content["annotations"]:
        code = a["segmentation"]
        code = rle.merge(rle.frPyObjects(code, *sizes[a["image_id"]])) if isinstance(code, list) else code
        mask = rle.decode(code)
        middle = int(np.median(np.flatnonzero(mask.any(0)))) + 1
        for part in (np.s_[:, :middle], np.s_[:, middle:]):
            half = np.zeros_like(mask, order="F")
            half[part] = mask[part]
            if half.any():
                code = rle.encode(half)
                whole = {"size": list(code["size"]), "counts": code["counts"].decode()}
                own = {"id": len(halves) + 1, "bbox": rle.toBbox(code).tolist(), "segmentation": whole}
                halves.append({**a, **own})
    content["annotations"] = halves


def rewrite(root: Path, split: str, change) -> None:
    file = root / "annotations" / f"instances_{split}.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("change", [merged, permuted, split_up])
@pytest.mark.parametrize("dataset", ["shapes", "coco"])
def test_instances_of_an_annotation_file_leave_no_trace(shapes, painted, tmp_path, dataset, change):
    """Merged, cut up or renamed objects of the same semantic maps: the same bytes under 'semantic' alone."""
    root = painted
    if dataset == "shapes":
        root = tmp_path / "copy"
        shutil.copytree(shapes, root)
    crop = 64 if dataset == "shapes" else 32
    streams = {}
    for supervision in ("semantic", "masks"):
        streams[supervision] = take(5, baiseg(dataset, crop=crop, supervision=supervision), root)
    rewrite(root, NAMES[dataset][0], change)
    again = take(5, baiseg(dataset, crop=crop), root)
    assert all(alike(streams["semantic"], again))
    control = take(5, baiseg(dataset, crop=crop, supervision="masks"), root)
    if change is not permuted:
        assert not all(alike(streams["masks"], control)), "the control does see instances"
    assert all(torch.equal(a.semantic, b.semantic) for (a,), (b,) in zip(again, control, strict=True))


def hold_no_instance(dataset, path):
    root = open_root(baiseg(dataset), path)
    boxes = open_root(baiseg(dataset, supervision="boxes"), path)
    assert [p.id for p in root.train] == [p.id for p in boxes.train]
    assert all(p.instances == [] for p in root.train)
    assert any(p.instances for p in root.eval) and any(p.instances for p in boxes.train)


def test_training_pictures_hold_no_instance(shapes, painted):
    hold_no_instance("shapes", shapes)
    hold_no_instance("coco", painted)


def test_real_coco_instances_leave_no_trace(shared, tmp_path):
    """Objects overlap here: which is in front must not depend on their ids or order."""
    hold_no_instance("coco", shared("coco"))
    for split in NAMES["coco"]:
        (tmp_path / split).symlink_to(shared("coco") / split)
    shutil.copytree(shared("coco") / "annotations", tmp_path / "annotations", copy_function=shutil.copyfile)
    recipe = baiseg("coco", crop=128, short_side=(128,), augment="flip")
    before = take(6, recipe, tmp_path)
    rewrite(tmp_path, "train2017", permuted)
    assert all(alike(before, take(6, recipe, tmp_path)))


@pytest.fixture
def voc(shared, tmp_path):
    """A copy of some of the real images: 12 of `train`, 4 of `val`."""
    source, root = shared("voc_from_coco"), tmp_path / "voc"
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split, number in (("train", 12), ("val", 4)):
        names = (source / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split()[:number]
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
        for folder, suffix in (
            ("JPEGImages", "jpg"),
            ("SegmentationClass", "png"),
            ("SegmentationObject", "png"),
        ):
            (root / folder).mkdir(exist_ok=True)
            for name in names:
                shutil.copyfile(source / folder / f"{name}.{suffix}", root / folder / f"{name}.{suffix}")
    return root


def objects(root: Path) -> list[Path]:
    names = (root / "ImageSets" / "Segmentation" / "train.txt").read_text().split()
    return [root / "SegmentationObject" / f"{name}.png" for name in names]


def test_voc_objects_leave_no_trace_and_may_be_absent(voc):
    recipe = baiseg("voc", crop=96, batch=4, short_side=(96, 128), supervision="semantic")
    control = baiseg("voc", crop=96, batch=4, short_side=(96, 128), supervision="masks")
    semantic, masks = take(3, recipe, voc), take(3, control, voc)
    for file in objects(voc):
        with Image.open(file) as image:
            image = image.copy()
        values = np.asarray(image).copy()
        values[(values > 0) & (values < 255)] = 7
        merged = Image.fromarray(values)
        merged.putpalette(image.getpalette())
        merged.save(file)
    assert all(alike(semantic, take(3, recipe, voc)))
    assert not all(alike(masks, take(3, control, voc))), "the control does see instances"
    for file in objects(voc):
        file.unlink()
    assert all(alike(semantic, take(3, recipe, voc)))
    root = open_root(recipe, voc)
    assert len(root.fingerprint) == 10 and len(list(semantic_samples(recipe, root))) == 4
    with pytest.raises(WsisError, match=r"SegmentationObject/.*can't be read"):
        take(1, control, voc)
    with pytest.raises(WsisError, match=r"SegmentationObject/.*can't be read"):
        dev_samples(recipe, root)
    (voc / "SegmentationClass" / objects(voc)[0].name).unlink()
    with pytest.raises(WsisError, match=r"SegmentationClass/.*can't be read"):
        take(1, recipe, voc)


def test_another_map_is_another_stream(shapes, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(shapes, root)
    before = take(8, baiseg(), root)
    for file in (root / "semantic" / "train").iterdir():
        with Image.open(file) as image:
            values = np.asarray(image).copy()
        Image.fromarray(np.where(values == 1, 2, values).astype(np.uint8)).save(file)
    after = take(8, baiseg(), root)
    assert not any(alike(before, after))
    assert all(torch.equal(a.images, b.images) for (a,), (b,) in zip(before, after, strict=True))
