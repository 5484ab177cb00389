"""A split as a COCO file and images: which one is meant, in what order, whose classes, of either layout."""

import json
import shutil

import pytest

from wsis.data.splits import splits_of
from wsis.errors import WsisError
from wsis.trained.listed_split import listed_split


def test_a_split_is_the_usual_one_the_only_one_or_asked_for(coco_root, tmp_path):
    root = coco_root()
    file, images = listed_split(root, None, "val2017", {}, tmp_path)
    assert file == root / "annotations" / "instances_val2017.json"
    assert images == {f"{id}.jpg": root / "val2017" / f"{id}.jpg" for id in range(1, 5)}
    assert listed_split(root, "train2017", "val2017", {}, tmp_path)[0].stem == "instances_train2017"
    with pytest.raises(WsisError, match=r"Give --split NAME \(there are: train2017, val2017\)"):
        listed_split(root, None, "val", {}, tmp_path)
    with pytest.raises(WsisError, match="no split 'test'"):
        listed_split(root, "test", "val2017", {}, tmp_path)
    file.unlink()
    assert listed_split(root, None, "val2017", {}, tmp_path)[0].stem == "instances_train2017"


def test_images_come_in_the_order_of_their_ids_and_classes_keep_their_names(coco_root, tmp_path):
    root = coco_root(lambda content: content["images"].reverse())
    names = [*listed_split(root, "train2017", "", {3: "person"}, tmp_path)[1]]
    assert names == ["1.jpg", "2.jpg", "3.jpg", "4.jpg"]
    with pytest.raises(WsisError, match="category 3 is 'person', but 'dog' for the run"):
        listed_split(root, "train2017", "", {3: "dog"}, tmp_path)


def test_a_voc_split_becomes_a_coco_file(shared, tmp_path):
    root = shutil.copytree(shared("voc"), tmp_path / "voc")
    assert splits_of(root, "voc") == ["train", "val"]
    file, images = listed_split(root, None, "val", {15: "person"}, tmp_path / "out")
    content = json.loads(file.read_text())
    assert [each["file_name"] for each in content["images"]] == [*images] and content["annotations"]
    assert all(path.is_file() and path.parent.name == "JPEGImages" for path in images.values())
