"""Files of boxes: polygons cover what the masks cover, empty masks leave an annotation as it was."""

import numpy as np
import pytest
from pycocotools import mask as rle

from wsis.errors import WsisError
from wsis.files import write_json
from wsis.trained.given import filled_in, listed_images, outlines

Y, X = np.mgrid[:60, :80]
AWAY = np.hypot(X - 40, Y - 30)
SHAPES = {
    "disc": (AWAY < 20, 1, 0.98),
    "two": ((AWAY < 8) | (abs(X - 70) + abs(Y - 10) < 7), 2, 0.97),
    "corner": ((X < 20) & (Y < 30), 1, 0.98),
    "pixel": ((X == 5) & (Y == 5), 1, 1),
    "line": ((X == 5) & (Y > 5) & (Y < 25), 1, 0.8),
    "nothing": (X < 0, 0, 1),
}


def encoded(mask):
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return code | {"counts": code["counts"].decode()}


@pytest.mark.parametrize(("mask", "parts", "least"), SHAPES.values(), ids=SHAPES)
def test_polygons_cover_the_mask(mask, parts, least):
    polygons = outlines(encoded(mask))
    assert len(polygons) == parts
    if parts:
        back = rle.decode(rle.merge(rle.frPyObjects(polygons, *mask.shape))).astype(bool)
        assert (back & mask).sum() / (back | mask).sum() >= least


def test_holes_are_filled():
    (polygon,) = outlines(encoded((AWAY < 20) & (AWAY > 10)))
    back = rle.decode(rle.merge(rle.frPyObjects([polygon], 60, 80)))
    assert back.sum() == pytest.approx((AWAY < 20).sum(), rel=0.02)


def test_what_has_no_mask_stays_as_it_is(tmp_path):
    path = tmp_path / "boxes.json"
    entries = [{"id": id, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9]} for id in (1, 2, 3)]
    content = {
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "categories": [{"id": 1, "name": "bird"}],
        "annotations": entries,
    }
    write_json(path, content)
    masks = {1: encoded(AWAY < 20), 2: encoded(AWAY < 0)}
    filled = filled_in(path, masks)["annotations"]
    expected = {"segmentation": masks[1], "area": int((AWAY < 20).sum()), "iscrowd": 0}
    assert filled == [entries[0] | expected, *entries[1:]]
    listed = listed_images(path, ["a.jpg"])["a.jpg"]
    assert listed.boxes == [[0, 0, 9, 9]] * 3 and listed.labels == ["bird"] * 3 and listed.ids == [1, 2, 3]
    with pytest.raises(WsisError, match=r"image b\.jpg is not in it"):
        listed_images(path, ["b.jpg"])
    write_json(path, content | {"annotations": [{"id": 1, "image_id": 2, "category_id": 1, "bbox": [0] * 4}]})
    with pytest.raises(WsisError, match="no COCO instances file"):
        listed_images(path, ["a.jpg"])
