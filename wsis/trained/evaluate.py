"""Evaluate a trained run where it lies, or any COCO results; the plan of a table is not asked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from wsis.card import ABOUT, known_categories, write_card
from wsis.configuration import LOGGERS
from wsis.data.ground_truth import category_groups, eval_annotations, eval_image_ids
from wsis.data.roots import Root, open_root
from wsis.declare.recipe import Recipe
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.evaluation.run import evaluate_run, evaluated
from wsis.methods import info_of
from wsis.records import read_record, write_record

GIVEN_FILE = "given_boxes.json"
GIVEN = "given-boxes"  # the class-agnostic protocol on masks of given boxes, of methods that find objects too


def evaluate_folder(
    folder: Path, data: Path | None = None, device: str | None = None, given_boxes: bool = False
) -> Path:
    """Write metrics.json of a run by the protocols that it was trained for; returns its path.

    data: a root with the recipe's splits; None: the one that it was trained on. On other data than
    its own, the images are predicted, and both files lie in evaluations/<root>-<fingerprint>/. Ground truth
    that was mended in place is its own, unless it numbers or names the images otherwise.
    given_boxes: also the masks that the run gives to the true boxes, given_boxes.json, and under `also` their
    metrics. A method that does nothing but fill boxes has them as its own metrics.
    Raises WsisError where the root is missing or numbers the run's classes otherwise.
    """
    recipe, protocols = stored_recipe(folder), read_record(folder / ABOUT)["protocols"]
    root = own_root(folder, recipe) if data is None else open_root(recipe, data)
    check_classes(root, known_categories(folder), folder)
    out = evaluations_of(folder, root)
    if out != folder:
        out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "recipe.json", out / "recipe.json")
        _predict(folder, root, out / "predictions.json", device)
    annotations, images = eval_annotations(root, out), eval_image_ids(recipe, root)
    evaluate_run(out, annotations, protocols, category_groups(root), images)
    if given_boxes and not info_of(recipe.method).fills_boxes:
        _predict(folder, root, out / GIVEN_FILE, device, given=True)
        measured = evaluated(out / GIVEN_FILE, annotations, "class-agnostic", recipe.id, images)
        content = read_record(out / "metrics.json")
        content["also"] = content.get("also", {}) | {GIVEN: measured | {"protocol": GIVEN}}
        write_card(out, metrics=content)
        write_record(out / "metrics.json", content)
    if out == folder:
        show_metrics(folder, read_record(folder / "metrics.json"))
    return out / "metrics.json"


def evaluations_of(folder: Path, root: Root) -> Path:
    """Where predictions and metrics of `root` lie: in the run's folder if it is the run's own root.

    Its ground truth may have been mended since, but for the ids and names of its images.
    """
    told = _trained_on(folder)
    mended = str(root.path) == told.get("path") and lists_the_same(folder, root)
    same_images = mended or root.eval_fingerprint == told.get("evaluation")
    if same_images and told.get("fingerprint") in (None, root.fingerprint):
        return folder
    return folder / "evaluations" / f"{root.name}-{root.eval_fingerprint}"


def lists_the_same(folder: Path, root: Root) -> bool:
    """Whether the evaluation images of `root` have the ids and names of those that a run predicted."""
    told = _trained_on(folder)
    return told.get("eval_listing") in (None, root.eval_listing)


def predictions_of(folder: Path, root: Root) -> Path:
    """`evaluations_of`, where it has predictions; else a WsisError says how to make them."""
    place = evaluations_of(folder, root)
    if place != folder and not (place / "predictions.json").exists():
        raise WsisError(
            f"{folder}: has no predictions of the images that {root.path} lists now; to make them:"
            f" wsis evaluate {folder} --data {root.path}"
        )
    return place


def check_classes(root: Root, known: dict[int, str], folder: Path) -> None:
    """Raise WsisError unless `root` has the run's classes under the same ids and names, and no others."""
    there = dict(zip(root.category_ids, root.category_names, strict=True))
    if there == known:
        return
    odd = next(id for id in sorted({*known, *there}) if known.get(id) != there.get(id))
    ours, theirs = (kinds.get(odd, "none") for kinds in (known, there))
    raise WsisError(f"{root.path}: category {odd} is '{theirs}', but '{ours}' for the run {folder}")


def own_root(folder: Path, recipe: Recipe) -> Root:
    """The root that a run was trained on. Raises WsisError where it isn't there."""
    told = _trained_on(folder)
    place = told.get("path")
    if place is None or not Path(place).is_dir():
        raise WsisError(
            f"{folder}: its data ({place or told['root_name']}) isn't there; give a root: --data ROOT"
        )
    return open_root(recipe, Path(place))


def _trained_on(folder: Path) -> dict[str, Any]:
    told = read_record(folder / "train.json").get("data")
    if told is None:
        raise WsisError(f"{folder / 'train.json'}: 'data' is missing")
    return told


def _predict(folder: Path, root: Root, path: Path, device: str | None, given: bool = False) -> None:
    from wsis.engine.launch import make_fabric
    from wsis.engine.predict import predict_samples
    from wsis.methods.fill import object_samples
    from wsis.progress import Progress
    from wsis.trained.model import Model

    model = Model(folder, device)
    fabric = make_fabric(model.recipe.schedule, model.device.type, [model.device.index or 0])
    with Progress(f"{model.recipe.id}: images", len(root.eval)) as progress:
        samples = object_samples(root.eval) if given else model.method.samples(root)
        predict_samples(model.method, samples, root.category_ids, path, fabric, progress, given)


def show_metrics(folder: Path, metrics: dict[str, Any]) -> None:
    """Add metrics to the logs that a run has been given (`wsis train --logger`)."""
    if any((folder / kind).is_dir() for kind in LOGGERS):
        from wsis.engine.loggers import log_evaluation

        log_evaluation(folder, metrics)


def lines(metrics: dict[str, Any]) -> list[str]:
    """The metrics of a metrics.json in words, a line a protocol."""
    return [
        f"{each['protocol']}: "
        + ", ".join(f"{name} {value:.2f}" for name, value in each["metrics"].items() if value is not None)
        + f" ({each['images']} images, {each['detections']} detections)"
        for each in (metrics, *metrics.get("also", {}).values())
    ]
