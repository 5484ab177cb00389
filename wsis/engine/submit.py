"""Predict COCO test-dev with a trained run and pack the file for the evaluation server."""

from __future__ import annotations

from pathlib import Path

from wsis.data.pixels import inside
from wsis.data.splits import read_categories
from wsis.data.transforms import read_image
from wsis.declare.stored import stored_recipe
from wsis.engine.launch import make_fabric
from wsis.engine.predict import predict_samples
from wsis.evaluation.submission import write_submission
from wsis.files import read_json
from wsis.methods.weights import trained_method
from wsis.progress import Progress


def submit(run: Path, image_info: Path, images: Path, name: str, accelerator: str) -> Path:
    """The server's zip beside the run's other files; returns its path.

    run:        a finished run's folder (recipe.json, weights)
    image_info: COCO's image_info_test-dev2017.json, which lists images and categories and no labels
    images:     the folder of those images (test2017)
    Raises WsisError for files that are missing or don't fit together, and for a method that needs more than
    images.
    """
    recipe = stored_recipe(run)
    info = read_json(image_info)
    categories = read_categories(info, image_info)
    method, _ = trained_method(run, recipe, len(categories))
    fabric = make_fabric(recipe.schedule, accelerator, [0])
    predictions = run / "predictions_test-dev.json"
    samples = (
        method.image_sample(
            read_image(inside(images, entry["file_name"]), entry["height"], entry["width"]), entry["id"]
        )
        for entry in sorted(info["images"], key=lambda entry: entry["id"])
    )
    with Progress("test-dev: images", len(info["images"])) as progress:
        predict_samples(method, samples, sorted(categories), predictions, fabric, progress)
    return write_submission(predictions, image_info, name, run)
