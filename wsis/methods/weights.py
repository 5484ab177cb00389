"""Weights from a run's folder: its own network again, or those that another run starts from.

They are in model.safetensors; runs of former versions have a model.pt. Beside a warm-up's weights lies its
optimiser, optimizer.pt.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import nn

from wsis.checksums import DamagedFile, verify
from wsis.declare.recipe import Recipe
from wsis.declare.stored import weights_file
from wsis.errors import WsisError
from wsis.methods import build_method
from wsis.methods.base import Method
from wsis.nn.tensors import check_finite, first_line, fitting

OPTIMIZER = "optimizer.pt"
ABOUT = "wsis"  # the key of the file's metadata: JSON of the recipe's id and the iteration
COUNTER = "iteration"  # a method's buffer of steps done, which ramps of losses read


def trained_method(folder: Path, recipe: Recipe, num_classes: int) -> tuple[Method, int]:
    """The network of a finished run with all that was chosen for it, and its iterations.

    folder: the run's, with its weights and train.json. Raises WsisError where the weights are of another
    recipe.
    """
    path = weights_file(folder)
    content = load_model(path)
    if content["recipe"] != recipe.id:
        raise WsisError(f"{folder}: {path.name} is of {content['recipe']}, expected {recipe.id}")
    if "strides" in content:  # the backbone's first weights, which may be a file elsewhere, are not needed
        bare = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "none"})})
        method = build_method(bare, num_classes)
        method.recipe = recipe.settled()
        place_strides(method, content["strides"])
    else:
        method = build_method(recipe, num_classes)
    fitting(method.state_dict(), content["model"], path, recipe.id)
    method.load_state_dict(content["model"])
    method.restore(folder)
    return method, content["iteration"]


def load_model(path: Path) -> dict[str, Any]:
    """The weights of a run: {"recipe": id, "iteration": int, "strides": as `strides`, "model": state dict}.

    path: a model.safetensors, or the model.pt of a former version: without strides, maybe with an optimiser.
    Raises WsisError when it is missing or unreadable, DamagedFile where it is not what was written.
    """
    try:
        verify(path)
        if path.suffix == ".pt":
            content = torch.load(path, map_location="cpu", weights_only=True)
        else:
            with safetensors.safe_open(path, "pt") as file:
                content = json.loads((file.metadata() or {}).get(ABOUT, "{}"))
                content["model"] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        kinds = {"recipe": str, "iteration": int, "model": dict}
        if not isinstance(content, dict) or not all(isinstance(content.get(k), t) for k, t in kinds.items()):
            raise ValueError("it is not the weights of a run")
        if not isinstance(content.get("strides", {}), dict):
            raise ValueError("its strides are no mapping")
        check_finite({k: v for k, v in content["model"].items() if isinstance(v, torch.Tensor)}, path)
        return content
    except DamagedFile:
        raise
    except FileNotFoundError:
        raise WsisError(f"{path}: no such file; train that run first") from None
    except WsisError:
        raise
    except Exception as error:
        raise WsisError(f"{path}: can't be read as a run's weights: {first_line(error)}") from None


def strides(model: nn.Module) -> dict[str, list[int]]:
    """Name -> strides above 1 of the convolutions: the weights that a backbone begins with may move them."""
    return {name: list(each.stride) for name, each in _convolutions(model) if max(each.stride) > 1}


def place_strides(model: nn.Module, strides: dict[str, list[int]]) -> None:
    """Give a network's convolutions the strides that `strides` found."""
    for name, convolution in _convolutions(model):
        convolution.stride = tuple(strides.get(name, (1, 1)))


def _convolutions(model: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, each) for name, each in model.named_modules() if isinstance(each, nn.Conv2d)]


def init_from_parent(model: nn.Module, path: Path, resized: tuple[str, ...] = ()) -> list[str]:
    """Start `model` from the weights of a parent run (`Recipe.init`).

    The buffer `iteration` is not taken over: the child's schedule and ramps begin anew. Names that only one
    of the two has are skipped (a child may add parts) and returned, sorted: "+ name" for the child's,
    "- name" for the parent's. So are names whose shapes differ if they begin with one of `resized`. Raises
    WsisError that names all other keys whose shapes differ, and where the two have no name in common.
    """
    parent = load_model(path)["model"]
    parent.pop(COUNTER, None)
    for name, value in model.state_dict().items():
        if name.startswith(resized) and name in parent and _shape(parent[name]) != _shape(value):
            del parent[name]
    return _load_shared(model, parent, path)


def continue_parent(model: nn.Module, path: Path, iteration: int) -> tuple[dict[str, Any], list[str]]:
    """Give `model` the weights and the counter of a warm-up that stopped at `iteration`.

    Returns the file's content, whose "optimizer" and "scaler" go on with it, and names as
    `init_from_parent`. Raises WsisError as that, and when the parent stopped elsewhere.
    """
    content = _with_optimizer(path)
    if content["iteration"] != iteration or "optimizer" not in content:
        without = "" if "optimizer" in content else ", without its optimiser"
        raise WsisError(
            f"{path}: the parent stopped at iteration {content['iteration']}{without};"
            f" expected a warm-up of {iteration}"
        )
    return content, _load_shared(model, content["model"], path)


def _with_optimizer(path: Path) -> dict[str, Any]:
    """`load_model`, with "optimizer" and "scaler" where a warm-up left them."""
    content = load_model(path)
    beside = path.with_name(OPTIMIZER)
    if path.suffix != ".pt" and beside.exists():
        verify(beside)
        state = torch.load(beside, map_location="cpu", weights_only=True)
        content |= state if state["iteration"] == content["iteration"] else {}
    return content


def _load_shared(model: nn.Module, parent: dict[str, Any], path: Path) -> list[str]:
    child = {name: value for name, value in model.state_dict().items() if name != COUNTER or name in parent}
    shared = [name for name in child if name in parent]
    shapes = {name: (_shape(parent[name]), _shape(child[name])) for name in shared}
    wrong = [
        f"{name} ({theirs} there, {ours} here)" for name, (theirs, ours) in shapes.items() if theirs != ours
    ]
    if wrong:
        raise WsisError(f"{path}: the parent's weights don't fit this recipe's model: {', '.join(wrong)}")
    if not shared:
        raise WsisError(f"{path}: the parent's weights share no name with this recipe's model")
    model.load_state_dict({name: parent[name] for name in shared}, strict=False)
    return sorted(
        [f"+ {name}" for name in child if name not in parent]
        + [f"- {name}" for name in parent if name not in child]
    )


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
