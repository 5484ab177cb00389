"""Official checkpoints: files of weights that the authors' code, or a model zoo, has published.

A method's room has a `checkpoints.py` with what its code bases name their tensors (`Info.checkpoints`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

from torch import Tensor, nn

from wsis.errors import WsisError
from wsis.methods import info_of
from wsis.nn.weights import for_rgb, torchvision_name

State = dict[str, Tensor]
Rules = list[tuple[str, str]]  # pattern of a whole name, template of the new one


class Config(NamedTuple):
    """What a configuration of theirs is here.

    base: the named recipe, '<paper>/<name>'; keys: dotted keys laid on it
    """

    base: str
    keys: Mapping[str, Any]


@dataclass(frozen=True)
class Source:
    """A code base whose checkpoints a method takes.

    code:      its name, as readers know it
    sign:      a name that all its checkpoints have
    translate: their tensors by their names -> ours by ours; raises KeyError for a name it doesn't know
    configs:   their name of a configuration -> what it is here
    caffe:     its ResNets have the stride in each stage's first 1x1 convolution
    """

    code: str
    sign: str
    translate: Callable[[State], State]
    configs: Mapping[str, Config]
    caffe: bool = False


def sources(method: str) -> tuple[Source, ...]:
    """The code bases whose checkpoints a method takes. WsisError where there are none."""
    place = info_of(method).checkpoints
    if not place:
        raise WsisError(f"method {method} takes no official checkpoints")
    module, name = place.split(":")
    return getattr(import_module(module), name)


def source_of(method: str, state: Mapping[str, Tensor], where: str) -> Source:
    """The code base that a file's tensors come from. WsisError, which begins with `where`, for none."""
    there = sources(method)
    for source in there:
        if source.sign in state:
            return source
    known = " or ".join(f"{source.code} ({source.sign})" for source in there)
    raise WsisError(f"{where}: no checkpoint for method {method}: it has no tensor of {known}")


def translated(source: Source, state: State, where: str) -> State:
    """A file's tensors by our names. WsisError, which begins with `where`, for a name that isn't known."""
    try:
        return source.translate(state)
    except KeyError as error:
        raise WsisError(
            f"{where}: tensor {error.args[0]} is unknown in checkpoints of {source.code}"
        ) from None


def fill(method: nn.Module, state: State, where: str) -> None:
    """Load an official checkpoint's tensors, by our names.

    WsisError, which begins with `where`, unless names and shapes are the network's, counters apart.
    """
    own = method.state_dict()
    counters = {name for name in own if name.endswith(("num_batches_tracked", "iteration"))}
    lacking, odd = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    shapes = [
        f"{name} is {_shape(state[name])} there, {_shape(own[name])} here"
        for name in sorted(own.keys() & state.keys())
        if state[name].shape != own[name].shape
    ]
    text = [f"no {name}" for name in lacking] + [f"{name} is not ours" for name in odd] + shapes
    if text:
        more = f" and {len(text) - 4} more" if len(text) > 4 else ""
        raise WsisError(f"{where}: does not fit the recipe's network: {'; '.join(text[:4])}{more}")
    method.load_state_dict(state, strict=False)


def caffe_strides(method: nn.Module) -> None:
    """Move the stride of each ResNet stage into its first 1x1 convolution, as MSRA's models have it."""
    for module in method.modules():
        first, second = getattr(module, "conv1", None), getattr(module, "conv2", None)
        if hasattr(module, "conv3") and second.stride == (2, 2):
            first.stride, second.stride = (2, 2), (1, 1)


def renamed(state: State, rules: Rules, ignored: Iterable[str] = ()) -> State:
    """Tensors under new names: the first of `rules` that fits decides.

    ignored: patterns of names that are left out. Raises KeyError for a name that nothing fits.
    """
    result: State = {}
    ignored = list(ignored)
    for name, value in state.items():
        if any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        for pattern, template in rules:
            if match := re.fullmatch(pattern, name):
                result[match.expand(template)] = value
                break
        else:
            raise KeyError(name)
    return result


def resnet_rules(body: str) -> Rules:
    """torchvision's names of a ResNet -> those of `wsis.nn.pyramid.ResNetStages` below `body`."""
    stages = [(rf"layer{i}\.(.+)", rf"{body}.c{i + 1}.\1") for i in range(1, 5)]
    return [(r"conv1\.(.+)", rf"{body}.stem.0.\1"), (r"bn1\.(.+)", rf"{body}.stem.1.\1"), *stages]


def detectron2_resnet(state: State) -> tuple[State, State]:
    """detectron2's tensors: those of its ResNet by torchvision's names and for RGB pixels, and all others."""
    stem = "backbone.bottom_up."
    resnet, rest = {}, {}
    for name, value in state.items():
        if name.startswith(stem):
            resnet[torchvision_name(name.removeprefix(stem))] = value
        else:
            rest[name] = value
    return resnet | {"conv1.weight": for_rgb(resnet["conv1.weight"])}, rest


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
