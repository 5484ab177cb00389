"""Columns of annotations: what they give back, and how processes share them."""

from __future__ import annotations

import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from wsis.data import kept, splits
from wsis.data.annotations import columns
from wsis.data.roots import open_root


def shown(root):
    """All that the pictures of a root say, and what the root says of itself."""
    pictures = [*root.train, *root.eval, *root.with_masks("train2017")]
    return repr(pictures), root.fingerprint, root.eval_fingerprint, root.category_names


@pytest.fixture
def crowded(coco_root):
    """Images and annotations out of order; a crowd region, RLE, polygons and no mask."""

    def change(content):
        first, second, third, _ = content["annotations"]
        first.update(iscrowd=1, segmentation={"size": [20, 30], "counts": [590, 10]})
        second["segmentation"] = [[1.25, 2, 8, 2.5, 8, 9, 1, 9], [10, 10, 12.125, 10, 12, 12]]
        content["annotations"].append(third | {"id": 99, "bbox": [0, 0, 5.5, 6]})
        content["annotations"].reverse()
        content["images"].reverse()

    return coco_root(change)


def test_pictures_say_what_the_file_says(crowded):
    content = json.loads((crowded / "annotations" / "instances_train2017.json").read_text())
    table = columns(content)
    assert table.ids.tolist() == sorted(image["id"] for image in content["images"])
    for row, id in enumerate(table.ids.tolist()):
        objects = [a for a in content["annotations"] if a["image_id"] == id]
        part = slice(*table.starts[row : row + 2])
        assert table.numbers[part].tolist() == [a["id"] for a in objects], "in the file's order"
        assert [table.outline(at) for at in range(part.start, part.stop)] == [
            a["segmentation"] for a in objects
        ]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in objects)]
        assert table.boxes[part].tolist() == boxes
        assert table.crowd[part].tolist() == [bool(a.get("iscrowd")) for a in objects]


def test_objects_are_those_of_the_pictures(crowded, recipe):
    pictures = open_root(recipe("coco"), crowded).train[1:]
    positions, boxes = pictures.objects()
    expected = [
        (row, column, instance.box)
        for row, picture in enumerate(pictures)
        for column, instance in enumerate(picture.instances)
    ]
    assert [
        (*place, tuple(box)) for place, box in zip(positions.tolist(), boxes.tolist(), strict=True)
    ] == expected
    assert pictures.ids.tolist() == [picture.id for picture in pictures]
    assert pictures.pixels == sum(picture.height * picture.width for picture in pictures)


def test_kept_columns_give_the_same(crowded, recipe, tmp_path, monkeypatch):
    r = recipe("coco", supervision="masks")
    expected = shown(open_root(r, crowded))
    monkeypatch.setattr(kept, "LEAST", 0)
    assert shown(open_root(r, crowded, cache=tmp_path / "kept")) == expected
    splits._categories_at.cache_clear()
    monkeypatch.setattr(splits, "_read_coco", None)  # the file is not parsed again
    root = open_root(r, crowded, cache=tmp_path / "kept")
    assert shown(root) == expected
    assert isinstance(root.train.table.boxes, np.memmap)


def test_a_changed_file_is_parsed_again_and_half_a_folder_is_none(crowded, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(kept, "LEAST", 0)
    file, cache = crowded / "annotations" / "instances_train2017.json", tmp_path / "kept"
    before = open_root(recipe("coco"), crowded, cache=cache)
    assert len(before.train) == 3
    content = json.loads(file.read_text())
    content["annotations"] = content["annotations"][:1]
    file.write_text(json.dumps(content))
    assert len(open_root(recipe("coco"), crowded, cache=cache).train) == 1
    for column in cache.glob("instances_train2017-*/boxes.npy"):
        column.unlink()
    assert len(open_root(recipe("coco"), crowded, cache=cache).train) == 1


def test_where_nothing_can_be_kept_the_file_is_read(crowded, recipe, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(kept, "LEAST", 0)
    (tmp_path / "file").write_text("no folder")
    assert len(open_root(recipe("coco"), crowded, cache=tmp_path / "file").train) == 3
    assert "can't be kept" in capfd.readouterr().err


def _opened(root, recipe, cache):
    kept.LEAST = 0
    return os.getpid(), shown(open_root(recipe, root, cache=cache))


def test_two_processes_parse_once(crowded, recipe, tmp_path):
    r = recipe("coco", supervision="masks")
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        found = list(pool.map(_opened, [crowded] * 4, [r] * 4, [tmp_path / "kept"] * 4))
    assert {text for _, text in found} == {shown(open_root(r, crowded))}
    left = [path.name for path in (tmp_path / "kept").iterdir() if not path.name.endswith(".lock")]
    assert len(left) == 2 and not any(name.startswith(".") for name in left), "one folder a split"
