"""Whose code a network is, and whose details it has.

`model.provider` is torchvision's, or detectron2's where that is installed. `auto` stands in the recipes of
rows that the papers trained with detectron2. `model.details` stands there as the paper's code has them. Both
are decided when a row is resolved, so that a run's id says what trained it.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from wsis.declare.load import DeclarationError
from wsis.methods import info_of

AUTO, OWN, DETECTRON2 = "auto", "torchvision", "detectron2"
ABSENT = (
    "detectron2 is not installed: build it from its source (make detectron2 SOURCE=path), or make the conda"
    " environment (environment.yml), which has it; model.provider torchvision needs neither"
)
PLAIN, OFFICIAL = "own", "official"  # model.details
DEPTHS = {"resnet50": 50, "resnet101": 101}  # backbones that detectron2 builds here


def installed() -> bool:
    """Whether detectron2 can be imported; it is not."""
    return find_spec("detectron2") is not None


def provided(tree: dict[str, Any], where: str) -> dict[str, Any]:
    """A recipe's tree with its provider decided. Raises DeclarationError for one that can't be had.

    A method with one provider alone has that one, whatever is asked for.
    """
    model = tree["model"]
    asked, can = model["provider"], model["backbone"] in DEPTHS
    if not info_of(tree["method"]).providers:
        asked = OWN
    elif asked == AUTO:
        asked = DETECTRON2 if can and installed() else OWN
    elif asked == DETECTRON2 and not can:
        text = f"detectron2's network has {', '.join(DEPTHS)}, not {model['backbone']}"
        raise DeclarationError(f"{where}: model.provider: {text}")
    elif asked == DETECTRON2 and not installed():
        raise DeclarationError(f"{where}: model.provider: {ABSENT}")
    return tree | {"model": model | {"provider": asked}}


def detailed(tree: dict[str, Any], declared: str | None, asked: str | None) -> dict[str, Any]:
    """A recipe's tree with its details decided: our own, unless others are asked for (None: they are not).

    declared: those of the paper's code, for which 'official' and `variant: released` stand; None where the
    variant alone says what they are. detectron2's network has its own alone, a tiny one stands for no code's.
    """
    model = tree["model"]
    if declared is not None:
        released = tree["variant"] == "released" and not model["backbone"].startswith("tiny")
        asked = OFFICIAL if asked is None and released else asked
        if asked is None or model["provider"] == DETECTRON2:
            asked = PLAIN
        elif asked == OFFICIAL:
            asked = declared
    return tree | {"model": model | {"details": asked}}
