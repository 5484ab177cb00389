"""Official checkpoints as finished runs: weights that others trained, behind a recipe of the papers.

The run lies where the plan of scale paper has it, if a row has its recipe under the settings that the code of
the checkpoint stands for (`wsis.methods.checkpoints`); predicted and evaluated, it fills that row's cells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from wsis.card import ABOUT, about_model, write_card
from wsis.checksums import remove
from wsis.data import voc
from wsis.data.places import Roots, run_root
from wsis.data.roots import Root, open_root, told_of
from wsis.declare.load import ROOT, load_recipe, merged, parse
from wsis.declare.recipe import Recipe
from wsis.declare.stages import stages
from wsis.declare.stored import weights_file
from wsis.engine.checkpoint import save_model
from wsis.engine.environment import environment
from wsis.engine.finish import normalisation
from wsis.engine.launch import device_name, make_fabric
from wsis.engine.predict import predict
from wsis.errors import WsisError, nearest_first
from wsis.files import digest
from wsis.methods import build_method, info_of
from wsis.methods.checkpoints import Config, Source, caffe_strides, fill, source_of, translated
from wsis.nn.weights import read_tensors
from wsis.plan import Run, make_plan
from wsis.provenance import code_hash
from wsis.records import write_record
from wsis.trained.evaluate import evaluate_folder

SCALE = "paper"


class Classes(NamedTuple):
    """The classes of a data set whose images are not at hand, in the order of the network's labels."""

    category_ids: tuple[int, ...]
    category_names: tuple[str, ...]


class Imported(NamedTuple):
    """A run that was imported. settings: those under which the plan of scale paper has it, if a row does."""

    folder: Path
    config: str
    settings: dict[str, Any]
    rows: tuple[tuple[str, str], ...]


def import_checkpoint(
    file: Path,
    method: str,
    config: str | None,
    settings: Mapping[str, Any],
    results: Path,
    roots: Roots = None,
    accelerator: str | None = None,
) -> Imported:
    """Make a finished run of an official checkpoint; with `roots`, also its predictions and metrics.

    file: a .pth or .pkl file, of which nothing is executed
    config: the code's name of its configuration; None: the one that the file's name ends with
    settings: dotted keys, laid on the recipe that the configuration stands for
    Raises WsisError for a file that does not fit the recipe's network, naming tensors.
    """
    tensors = read_tensors(file)
    source = source_of(method, tensors, str(file))
    name = _config_name(source, config, file)
    laid = {**source.configs[name].keys, **settings}
    recipe = _recipe(source.configs[name], laid, f"{source.code}, {name}")
    planned = _planned(recipe, laid)
    root = open_root(recipe, run_root(recipe, results, SCALE, roots)) if roots else None
    classes = root or _known_classes(recipe)
    network = _built(recipe, len(classes.category_ids))
    state = translated(source, tensors, str(file))
    fill(network, state, str(file))
    if source.caffe:
        caffe_strides(network)
    folder = results / SCALE / "runs" / recipe.id
    iterations = int(state.get("iteration", recipe.schedule.end))
    save_model(folder, recipe.id, iterations, network, None)
    asked = {"set": laid, "data_root": {recipe.data.dataset: str(root.path)} if root else None}
    about = {"id": recipe.id, "scale": SCALE, "recipe": recipe.model_dump(mode="json"), "parent": None}
    write_record(folder / "recipe.json", about | {"asked": asked})
    told = about_model(recipe, classes, planned.rows, _protocols(recipe))
    write_record(folder / ABOUT, told | {"normalisation": normalisation(network)})
    for stale in ("predictions.json", "metrics.json"):
        remove(folder / stale)
    device = accelerator or ("cuda" if torch.cuda.is_available() else "cpu")
    if root:
        fabric = make_fabric(recipe.schedule, device, [0])
        network.recipe = recipe
        predict(network.eval(), root, folder / "predictions.json", fabric)
    write_record(folder / "environment.json", {"run": recipe.id, **environment(torch.device(device))})
    origin = {"code": source.code, "config": name, "file": file.name, "sha256": _sha256(file)}
    write_record(folder / "train.json", _record(folder, planned, origin, root, iterations))
    write_card(folder)
    if root:
        evaluate_folder(folder)
    return Imported(folder, name, laid, tuple(planned.rows))


def _config_name(source: Source, config: str | None, file: Path) -> str:
    """The configuration that is asked for, or the longest one that the file's name ends with."""
    there = source.configs
    if config is None:
        fits = [name for name in there if file.stem.endswith(name.rpartition("/")[2])]
        if fits:
            return max(fits, key=len)
        raise WsisError(
            f"{file}: of which configuration of {source.code}? Give --config ({', '.join(there)})"
        )
    name = config.removesuffix(".yaml").removesuffix(".py")
    if name not in there:
        raise WsisError(f"--config {config}: {source.code} has {nearest_first(name, there)}")
    return name


def _recipe(config: Config, laid: Mapping[str, Any], where: str) -> Recipe:
    """What a configuration stands for, at the paper's scale; of two stages the first."""
    paper, _, base = config.base.partition("/")
    declared = parse(Recipe, merged(load_recipe(paper, base, where), laid), where)
    return stages(declared, where, ROOT)[0].settled()


def _planned(recipe: Recipe, laid: Mapping[str, Any]) -> Run:
    """The run of the plan with these settings that has the recipe; one without rows where none has."""
    plan = make_plan(SCALE, overrides=dict(laid))
    return plan.runs.get(recipe.id) or Run(recipe.id, recipe, recipe)


def _protocols(recipe: Recipe) -> list[str]:
    if info_of(recipe.method).fills_boxes:
        return ["class-agnostic"]
    return ["voc" if recipe.data.dataset == "voc" else "coco"]


def _known_classes(recipe: Recipe) -> Classes:
    if recipe.data.dataset == "voc":
        return Classes(tuple(voc.CATEGORIES), tuple(voc.CATEGORIES.values()))
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    names = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"]  # at the places of their ids
    named = {id: name for id, name in enumerate(names) if name not in ("__background__", "N/A")}
    return Classes(tuple(named), tuple(named.values()))


def _built(recipe: Recipe, num_classes: int) -> nn.Module:
    """The network, without a backbone's first weights, which are in the checkpoint."""
    bare = recipe.model.model_copy(update={"weights": "none"})
    return build_method(recipe.model_copy(update={"model": bare}), num_classes)


def _record(
    folder: Path, planned: Run, origin: dict[str, str], root: Root | None, iterations: int
) -> dict[str, Any]:
    """The content of train.json: no time and no losses, since nothing was trained here."""
    text = f"official checkpoint {origin['file']} ({origin['code']}, {origin['config']}): not trained here"
    data = {"root_name": None, "path": None, "train_images": None, "eval_images": None, "fingerprint": None}
    if root:
        data = told_of(root)
    return {
        "recipe": planned.id,
        "scale": SCALE,
        "source": "official checkpoint",
        "checkpoint": origin,
        "seconds": 0.0,
        "iterations": iterations,
        "resumed": 0,
        "losses": {},
        "images_per_second": 0.0,
        "devices": 0,
        "device_name": device_name(torch.device("cpu")),
        "precision": "32",
        "peak_memory": None,
        "code": code_hash(planned.recipe.method),
        "weights": digest(weights_file(folder)),
        "deviations": [*planned.differences, text],  # the listed ones are about trainings of ours
        "data": data,
    }


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
