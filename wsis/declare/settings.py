"""A user's settings, dotted keys of a recipe, checked before any row is resolved with them."""

from __future__ import annotations

import json
from typing import Any

from pydantic import ValidationError

from wsis.declare.load import DeclarationError, complaint, unfit
from wsis.declare.recipe import Recipe
from wsis.methods import infos

WHERE = "set"  # what complaints begin with


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested or dotted dictionaries as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def check_settings(settings: dict[str, Any]) -> None:
    """Raise DeclarationError, one line that names the key, for a key or a type that no recipe has.

    What a row makes of the settings is checked when it is resolved.
    """
    given = flatten(settings)
    if "seed" in given:
        raise DeclarationError(f"{WHERE}: seed: seeds are chosen apart (--seeds, or seeds= of a workflow)")
    if text := unfit(given):
        raise DeclarationError(f"{WHERE}: {text[0]}: YAML reads a {text[1]}; quote it if it is meant as text")
    tree = _nested(given)
    try:
        Recipe.model_validate_json(json.dumps({"method": next(iter(infos()))} | tree))
    except ValidationError as error:
        wrong = [each for each in error.errors() if _is_of(each, given)]
        if wrong:
            raise DeclarationError(f"{WHERE}: {'; '.join(complaint(Recipe, e) for e in wrong)}") from None


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested dictionaries."""
    tree: dict[str, Any] = {}
    for dotted, value in given.items():
        *sections, key = dotted.split(".")
        part = tree
        for name in sections:
            part = part.setdefault(name, {})
            if not isinstance(part, dict):
                raise DeclarationError(f"{WHERE}: {dotted}: {name} is given another value as well")
        if isinstance(part.get(key), dict):
            raise DeclarationError(f"{WHERE}: {dotted}: keys inside of it are given as well")
        part[key] = value
    return tree


def _is_of(error: Any, given: dict[str, Any]) -> bool:
    """Whether a complaint is about the settings, not about what a row has beside them."""
    if error["type"] == "missing":
        return False
    return error["type"] != "value_error" or ".".join(map(str, error["loc"])) in given
