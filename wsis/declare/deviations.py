"""What differs between the recipe that runs and what the papers ran, as far as it is known before it runs.

Two sources: the declared recipe beside the one that runs, key by key; and ablations/deviations.yaml, which
lists where the declared recipes themselves have something else than the papers' trainings.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from pydantic import model_validator

from wsis.declare.base import Key, Overrides, Spec
from wsis.declare.load import ROOT, DeclarationError, parse, read_yaml
from wsis.declare.provider import AUTO, DETECTRON2, PLAIN
from wsis.declare.recipe import Recipe
from wsis.declare.settings import check_settings, flatten
from wsis.methods import info_of

FILE = "deviations.yaml"
DETECTOR = ("pyramid",)  # `Info.features` of the methods whose code takes MSRA's weights


class Deviation(Spec):
    """Something that declared recipes have otherwise than the trainings which made the printed numbers."""

    where: Overrides  # dotted keys of a settled recipe -> the value it must have, or a list of some
    key: Key | None = None  # the one of `where` that the papers had otherwise; null: no key makes it theirs
    paper: str | None = None  # what they had there
    text: str  # what it is, what it may cost, and what makes it theirs

    @model_validator(mode="after")
    def _key_and_value(self) -> Deviation:
        if (self.key is None) != (self.paper is None):
            raise ValueError("'key' and 'paper' go together")
        if self.key is not None and self.key not in self.where:
            raise ValueError(f"'where' doesn't say which value of {self.key} deviates")
        return self

    def line(self, flat: dict[str, Any]) -> str | None:
        """'key: paper -> here (text)' for a recipe of dotted keys; None where it doesn't deviate."""
        if any(flat.get(key) not in _several(value) for key, value in self.where.items()):
            return None
        if self.key is None:
            return self.text
        return f"{_changed(self.key, self.paper, flat[self.key])} ({self.text})"


@cache
def load_deviations(root: Path = ROOT) -> tuple[Deviation, ...]:
    """What is listed. Raises DeclarationError with the entry and the key of what no recipe has."""
    path = root / FILE
    trees = read_yaml(path) if path.exists() else []
    if not isinstance(trees, list):
        raise DeclarationError(f"{path}: expected a list of deviations")
    listed = [parse(Deviation, tree, f"{path}: entry {i}") for i, tree in enumerate(trees)]
    for i, deviation in enumerate(listed):
        for key, value in deviation.where.items():
            for each in _several(value):
                check_settings({key: each}, f"{path}: entry {i}: where")
    return tuple(listed)


def known(recipe: Recipe) -> tuple[str, ...]:
    """What the listed deviations say of a recipe.

    Nothing at scales on generated images, whose networks and images stand for the papers' as a whole.
    """
    if recipe.data.dataset == "shapes":
        return ()
    flat = flatten(recipe.settled().model_dump(mode="json"))
    return tuple(line for deviation in load_deviations() if (line := deviation.line(flat)) is not None)


def differences(published: Recipe, recipe: Recipe, ancestors: tuple[Recipe, ...] = ()) -> tuple[str, ...]:
    """What differs between the recipe that runs and the declared one: 'key: paper -> here', sorted by key.

    ancestors: what it starts from; one that it continues, or only predicts with, is looked through.
    """
    paper, here = (flatten(r.settled().model_dump(mode="json")) for r in (published, recipe))
    same = paper["model.backbone"] == here["model.backbone"]
    if paper["model.provider"] == AUTO:  # a small network stands for no library's
        paper["model.provider"] = DETECTRON2 if same else here["model.provider"]
    if here["model.details"] == PLAIN and not (same and here["model.provider"] != DETECTRON2):
        paper["model.details"] = PLAIN
    if info_of(recipe.method).features == DETECTOR and recipe.model.weights.endswith(".pkl"):
        paper["model.weights"] = here["model.weights"]  # MSRA's, as in the paper's code (erratum c7)
    apart = {"seed", "init", "init.parent", "init.iteration", "proxy.parent", "data.annotations"}
    # Another prediction of a trained run has no schedule of its own.
    reading = recipe.init is not None and not recipe.schedule.total and published.schedule.total
    if reading:
        apart.add("schedule.iterations")
    keys = sorted(key for key in paper.keys() | here.keys() if paper.get(key) != here.get(key))
    lines = [_changed(key, paper.get(key), here.get(key)) for key in keys if key not in apart]
    others, first = {ancestor.id: ancestor for ancestor in ancestors}, recipe
    if reading:
        first = others.get(recipe.init.parent)
    while first and first.init and first.init.iteration and first.init.parent in others:
        first = others[first.init.parent]
    forked = first and first.init and not first.init.iteration
    if forked and not published.init:
        lines.append("forked from a shared warm-up instead of trained from scratch")
    return tuple(lines)


def _changed(key: str, paper: Any, here: Any) -> str:
    return f"{key}: {_brief(paper)} -> {_brief(here)}"


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _brief(value: Any) -> str:
    if isinstance(value, list):
        return "/".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)
