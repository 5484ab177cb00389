"""Predict COCO test-dev with a trained run and pack the file for the evaluation server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wsis.data.loading import image_tensor
from wsis.data.roots import read_categories
from wsis.data.structures import Sample
from wsis.data.transforms import network_size, read_image, resize_image
from wsis.declare.recipe import Recipe
from wsis.engine.checkpoint import load_model
from wsis.engine.launch import make_fabric
from wsis.engine.predict import predict_run
from wsis.errors import WsisError
from wsis.evaluation.submission import write_submission
from wsis.files import read_json
from wsis.methods import build_method


def submit(run: Path, image_info: Path, images: Path, name: str, accelerator: str) -> Path:
    """The server's zip beside the run's other files; returns its path.

    run:        a finished run's folder (recipe.json, model.pt)
    image_info: COCO's image_info_test-dev2017.json, which lists images and categories and no labels
    images:     the folder of those images (test2017)
    Raises WsisError for files that are missing or don't fit together.
    """
    declared = read_json(run / "recipe.json")
    recipe = Recipe.model_validate(declared["recipe"], strict=False)
    if recipe.method == "baiseg":
        raise WsisError(f"{run}: BAISeg needs semantic maps beside the images, which submit can't read yet")
    info = read_json(image_info)
    categories = read_categories(info, image_info)
    method = build_method(recipe, len(categories))
    trained = load_model(run / "model.pt")
    if trained["recipe"] != recipe.id:
        raise WsisError(f"{run}: model.pt is of {trained['recipe']}, recipe.json of {recipe.id}")
    method.load_state_dict(trained["model"])
    fabric = make_fabric(recipe.schedule, accelerator, [0])
    predictions = run / "predictions_test-dev.json"
    samples = _samples(recipe, info["images"], images)
    predict_run(method, samples, sorted(categories), predictions, fabric, "test-dev", len(info["images"]))
    return write_submission(predictions, image_info, name, run)


def _samples(recipe: Recipe, entries: list[dict], folder: Path) -> Iterator[Sample]:
    for entry in sorted(entries, key=lambda entry: entry["id"]):
        h, w = entry["height"], entry["width"]
        image = read_image(folder / entry["file_name"], h, w)
        height, width, _ = network_size(h, w, recipe.data.eval_short_side, recipe.data.max_side)
        yield Sample(image_tensor(resize_image(image, height, width)), (h, w), entry["id"])
