"""Predictions on images without labels, packed for COCO's evaluation server."""

import json
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from tests.methods.scenes import recipe
from wsis.engine.checkpoint import save_model
from wsis.engine.submit import submit
from wsis.errors import WsisError
from wsis.methods import build_method

CATEGORIES = [{"id": 7, "name": "a"}, {"id": 3, "name": "b"}, {"id": 90, "name": "c"}]


@pytest.fixture
def trained(tmp_path):
    """A run's folder with random weights that detect a lot, an image_info file and its images."""
    declared = recipe(predict__score=0.0, predict__detections=5, data__eval_short_side=64)
    torch.manual_seed(0)
    run = tmp_path / declared.id
    run.mkdir()
    (run / "recipe.json").write_text(
        json.dumps({"id": declared.id, "recipe": declared.model_dump(mode="json")})
    )
    save_model(run, declared.id, 0, build_method(declared, 3))
    images = tmp_path / "test2017"
    images.mkdir()
    entries = []
    for id in (12, 5):
        name = f"{id:012d}.jpg"
        pixels = np.random.default_rng(id).integers(0, 255, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(images / name)
        entries.append({"id": id, "file_name": name, "height": 70, "width": 90})
    info = tmp_path / "image_info_test-dev2017.json"
    info.write_text(json.dumps({"images": entries, "categories": CATEGORIES}))
    return run, info, images


def test_the_zip_holds_masks_of_the_listed_images(trained):
    run, info, images = trained
    path = submit(run, info, images, "mine", "cpu")
    assert path.parent == run
    with zipfile.ZipFile(path) as archive:
        (name,) = archive.namelist()
        results = json.loads(archive.read(name))
    assert name == "detections_test-dev2017_mine_results.json"
    assert {entry["image_id"] for entry in results} == {5, 12}
    assert {entry["category_id"] for entry in results} <= {3, 7, 90}
    assert all(entry["segmentation"]["size"] == [70, 90] for entry in results)
    assert all("bbox" not in entry for entry in results)


def test_a_missing_image_is_named(trained):
    run, info, images = trained
    (images / "000000000005.jpg").unlink()
    with pytest.raises(WsisError, match=r"000000000005\.jpg"):
        submit(run, info, images, "mine", "cpu")
