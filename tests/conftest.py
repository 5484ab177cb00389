"""A small `shapes` root, a hand-made COCO root, and the real images where they are at hand."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsis.data.shapes.write import write_shapes
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec, ShapesSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.signals import remember

TESTS = Path(__file__).resolve().parent
LONG = [line for line in (TESTS / "trains.txt").read_text().splitlines() if not line.startswith("#")]
FIRST = ("workflow/test_workflow.py", "faults/")
SPEC = ShapesSpec(train_images=60, val_images=12, salient_images=4)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what tests/trains.txt names; the longest files come first, so that they end beside others."""
    for item in items:
        if item.nodeid.removeprefix("tests/").startswith(tuple(LONG)):
            item.add_marker(pytest.mark.trains)
    items.sort(key=lambda item: not item.nodeid.removeprefix("tests/").startswith(FIRST))


@pytest.fixture(scope="session")
def shapes(tmp_path_factory) -> Path:
    return write_shapes(SPEC, 0, tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(autouse=True)
def _plans_without_detectron2(monkeypatch):
    """Ids are those of an environment without it, whether it is installed or not."""
    monkeypatch.setattr("wsis.declare.provider.installed", lambda: False)


@pytest.fixture
def remembers():
    """This process remembers notices of a time limit while the test lasts."""
    former = signal.getsignal(signal.SIGUSR1)
    remember()
    yield
    signal.signal(signal.SIGUSR1, former)


@pytest.fixture
def voc_folders(tmp_path) -> Path:
    """A root in VOC's layout without files."""
    root = tmp_path / "voc"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationObject", "Annotations"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    return root


@pytest.fixture
def shared():
    """Folder of real images by name, or a skip that says what is missing."""

    def find(name: str) -> Path:
        base = os.environ.get("WSIS_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
        folder = Path(base) / name
        if not folder.is_dir():
            pytest.skip(f"real images are not at hand: {folder}")
        return folder

    return find


@pytest.fixture
def recipe():
    """recipe(dataset="shapes", batch=8, seed=0, **data): a recipe that reads the root as given."""

    def make(dataset: str = "shapes", batch: int = 8, seed: int = 0, **data) -> Recipe:
        if dataset == "shapes":
            data = {"short_side": (96,), "eval_short_side": 96, "augment": "dihedral", **data}
            data = {"train": "train", "eval": "val", **data}
        return Recipe(
            method="boxinst",
            seed=seed,
            data=DataSpec(dataset=dataset, **data),
            schedule=ScheduleSpec(batch=batch),
        )

    return make


@pytest.fixture
def coco_root(tmp_path):
    """write(change): a COCO root of four 20 x 30 images with one object each, its JSON changed in place."""
    root = tmp_path / "root"
    for split in ("train2017", "val2017"):
        (root / split).mkdir(parents=True)
        for id in range(1, 5):
            noise = np.random.default_rng(id).integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / split / f"{id}.jpg")
    (root / "annotations").mkdir()
    content = {
        "images": [{"id": id, "file_name": f"{id}.jpg", "height": 20, "width": 30} for id in range(1, 5)],
        "categories": [{"id": 3, "name": "person"}, {"id": 7, "name": "kite"}],
        "annotations": [
            {
                "id": 10 + id,
                "image_id": id,
                "category_id": 3 if id % 2 else 7,
                "iscrowd": 0,
                "bbox": [4, 5, 10, 8],
                "area": 80,
                "segmentation": [[4, 5, 14, 5, 14, 13, 4, 13]],
            }
            for id in range(1, 5)
        ],
    }

    def write(change=None, split: str = "train2017") -> Path:
        changed = json.loads(json.dumps(content))
        if change:
            change(changed)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(changed))
        return root

    write()
    write(split="val2017")
    write.root = root
    return write
