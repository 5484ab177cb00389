"""A run's folder as a model: loading, images of every kind, masks of boxes."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import wsis
from tests.trained.runs import same
from wsis.data.pixels import ORIENTATION
from wsis.declare.stored import stored_recipe
from wsis.engine.checkpoint import save_model
from wsis.errors import WsisError
from wsis.files import read_json, write_json
from wsis.methods.weights import trained_method


def test_a_copied_folder_predicts_what_its_run_predicted(trained, model):
    stored = read_json(trained.detector / "predictions.json")
    entries = []
    for id, instances in enumerate(model.predict(trained.images), 1):
        entries += instances.coco(id)
    keys = ("image_id", "category_id", "score", "segmentation")
    assert [{key: entry[key] for key in keys} for entry in entries] == stored


def test_instances_are_numpy_in_the_frame_of_the_image(trained, model):
    found = model.predict(str(trained.images[0]))
    height, width = np.asarray(Image.open(trained.images[0])).shape[:2]
    count = len(found)
    assert count == 5 and found.size == (height, width)
    assert found.boxes.shape == (count, 4) and found.boxes.dtype == np.float32
    assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
    assert found.masks.shape == (count, height, width) and found.masks.dtype == bool
    assert found.scores.shape == (count,) and (np.diff(found.scores) <= 0).all()
    assert [model.names[label] for label in found.labels] == list(found.names)
    assert [model.categories[id] for id in found.category_ids.tolist()] == list(found.names)
    middle = float(np.sort(found.scores)[2])
    assert len(found.above(middle)) == (found.scores >= middle).sum() == len(found.above(middle).masks)
    assert found.above(2.0).masks.shape == (0, height, width) and found.above(2.0).coco(1) == []


def test_paths_arrays_and_pictures_are_one_image(trained, model, tmp_path):
    path = trained.images[0]
    picture = Image.open(path).convert("RGB")
    expected = model.predict(path)
    assert same(model.predict(picture), expected) and same(model.predict(np.array(picture)), expected)
    grey = picture.convert("L")
    assert same(model.predict(grey), model.predict(np.array(grey)))
    turned = picture.transpose(Image.Transpose.ROTATE_90)  # stored lying on its side
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert same(model.predict(tmp_path / "turned.png"), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("absent.jpg", r"absent\.jpg: no such image"),
        (np.zeros((4, 4, 3)), "expected h x w x 3 uint8"),
        (np.zeros((4, 4, 4), np.uint8), "expected h x w x 3 uint8"),
        (Image.new("F", (4, 4)), "32 bits or floats a pixel"),
        ([torch.zeros(3, 4, 4)], "Tensor: expected a path"),
    ],
)
def test_what_is_no_image_is_refused(model, image, message):
    with pytest.raises(WsisError, match=message):
        model.predict(image)


def test_a_method_that_fills_boxes_takes_them_and_the_other_takes_none(trained, model):
    filler, image = wsis.load(trained.filler, "cpu"), trained.images[0]
    assert filler.fills_boxes and not model.fills_boxes
    boxes = [[5, 5, 40, 50], [20, 10, 60, 60]]
    plain = filler.predict(image, boxes)
    assert len(plain) == 2 and set(plain.names) == {filler.names[0]}
    assert not plain.masks[0][:, 41:].any() and not plain.masks[0][51:].any()
    assert filler.predict(image, boxes, [filler.names[1], 2]).names == filler.names[1:3]
    one, none = filler.predict([image, image], [boxes, []])
    assert same(one, plain) and len(none) == 0
    for arguments, message in [
        ((image,), "give it boxes"),
        (([image, image], [boxes]), "a list for each image"),
        ((image, boxes, ["heron", 0]), "no class 'heron'"),
        ((image, boxes, [0]), "1 labels for 2 boxes"),
        ((image, [[1, 2, 3]]), "n x 4"),
    ]:
        with pytest.raises(WsisError, match=message):
            filler.predict(*arguments)
    with pytest.raises(WsisError, match="finds the objects itself; masks of given boxes: masks_of"):
        model.predict(image, boxes)


@pytest.mark.parametrize("name", ["detector", "filler"])
def test_every_model_gives_masks_to_boxes(trained, name):
    model, image = wsis.load(getattr(trained, name), "cpu"), trained.images[0]
    boxes = [[5, 5, 40, 50], [20, 10, 60, 60]]
    plain = model.masks_of(image, boxes)
    assert plain.boxes.tolist() == boxes and plain.size == (64, 64)
    assert not plain.masks[0][:, 40:].any() and not plain.masks[0][50:].any()
    named = model.masks_of([image, image], [boxes, []], [[model.names[1], None], []])
    assert same(named[0], plain) and named[0].names == (model.names[1], plain.names[1])
    assert len(named[1]) == 0 and named[1].masks.shape == (0, 64, 64)
    if model.fills_boxes:
        assert same(model.predict(image, boxes), plain)


def test_what_is_no_runs_folder_is_refused(trained, tmp_path):
    with pytest.raises(WsisError, match=r"no recipe\.json"):
        wsis.load(tmp_path)
    old = shutil.copytree(trained.detector, tmp_path / "old")
    (old / "model.json").unlink()
    with pytest.raises(WsisError, match=r"no model\.json: a run of a former version"):
        wsis.load(old)
    for name, content, message in [
        ("model.json", {"categories": [3]}, "run: Field required"),
        ("recipe.json", [], "Input should be a valid dictionary"),
        ("recipe.json", {"recipe": None}, "recipe: Input should be a valid dictionary"),
        ("recipe.json", {"recipe": {"method": 3}}, "method: Input should be a valid string"),
    ]:
        run = shutil.copytree(trained.detector, tmp_path / "run", dirs_exist_ok=True)
        write_json(run / name, content)
        with pytest.raises(WsisError, match=rf"run/{name}: .*{message}"):
            wsis.load(run)
    with pytest.raises(WsisError, match="device nonsense"):
        wsis.load(trained.detector, "nonsense")


def test_a_backbones_first_weights_and_the_strides_they_moved_are_in_the_folder(trained, model, tmp_path):
    """The file that the training began with may be gone; detectron2's weights move a network's strides."""
    run = shutil.copytree(trained.detector, tmp_path / "run")
    content = read_json(run / "recipe.json")
    content["recipe"]["model"]["weights"] = str(tmp_path / "gone.pkl")
    write_json(run / "recipe.json", content)
    recipe = stored_recipe(run)
    moved, _ = trained_method(trained.detector, stored_recipe(trained.detector), 3)
    convolutions = {name: each for name, each in moved.named_modules() if isinstance(each, torch.nn.Conv2d)}
    strided = next(name for name, each in convolutions.items() if each.stride == (2, 2))
    plain = next(name for name, each in convolutions.items() if each.stride == (1, 1))
    convolutions[strided].stride, convolutions[plain].stride = (1, 1), (2, 2)
    save_model(run, recipe.id, 0, moved)
    method, _ = trained_method(run, recipe, 3)
    assert method.recipe == recipe.settled()
    assert {name: method.get_submodule(name).stride for name in convolutions} == {
        name: each.stride for name, each in convolutions.items()
    }
