"""Methods: what there is to train. A method's name stands here, on one line, and in its own folder.

Every folder has an `info.py`, which says without torch what the plan, the workflow and the report need to
know of the method, and the code that trains it. Everybody else asks the method's Info.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from wsis.errors import WsisError, nearest_first
from wsis.methods.outside import outside

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe
    from wsis.methods.base import Method
    from wsis.methods.info import Info

METHODS = {  # name -> the module of its INFO
    "condinst": "wsis.methods.condinst.info",
    "boxinst": "wsis.methods.boxinst.info",
    "sim": "wsis.methods.sim.info",
    "boxcaseg": "wsis.methods.boxcaseg.info",
    "baiseg": "wsis.methods.baiseg.info",
    "ocrnet": "wsis.methods.ocrnet.info",
    "mask_rcnn": "wsis.methods.mask_rcnn.info",
    "bbtp": "wsis.methods.bbtp.info",
    "grabcut": "wsis.methods.grabcut.info",
    "boxes": "wsis.methods.boxes.info",
}


@cache
def early_infos() -> dict[str, Info]:
    """What methods say of themselves in an info.py, by name: all that may have a section of a recipe."""
    there = {name: import_module(module).INFO for name, module in METHODS.items()}
    return _joined(there, outside(early=True))


@cache
def infos() -> dict[str, Info]:
    """What every method says of itself, by name; those from outside come last."""
    return _joined(early_infos(), outside(early=False))


def _joined(there: dict[str, Info], others: Iterable[Info]) -> dict[str, Info]:
    """WsisError for a name that two methods have."""
    there = dict(there)
    for info in others:
        if info.name in there:
            raise WsisError(f"two methods are named {info.name}: {there[info.name].network}, {info.network}")
        there[info.name] = info
    return there


def info_of(name: str) -> Info:
    """What a method says of itself; WsisError for a name that no method has."""
    if name not in infos():
        raise WsisError(
            f"method {name} does not exist (there are: {nearest_first(name, infos())}); one of yours needs"
            " --include PATH before the command, or WSIS_INCLUDE"
        )
    return infos()[name]


def heads() -> list[str]:
    """Every `model.head` that a method brings."""
    return list(dict.fromkeys(head for info in infos().values() for head in info.heads))


def method_class(recipe: Recipe) -> type[Method]:
    """The class of a recipe's network and losses; of all methods, only its own libraries are imported.

    Raises WsisError where the network's library is not installed.
    """
    from wsis.declare.provider import ABSENT, installed

    info, model = info_of(recipe.method), recipe.model
    if model.provider in info.providers and not installed():
        raise WsisError(f"method {info.name}: model.provider {model.provider}: {ABSENT}")
    others = {**info.networks, **info.providers}
    place = others.get(model.provider) or others.get(model.head) or info.network
    module, attribute = place.split(":")
    return getattr(import_module(module), attribute)


def build_method(recipe: Recipe, num_classes: int) -> Method:
    """The network and losses of a recipe. num_classes: C, contiguous labels 0 to C - 1."""
    return method_class(recipe)(recipe.settled(), num_classes)
