"""A user's settings, dotted keys of a recipe, checked before any row is resolved with them."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import ValidationError

from wsis.declare.base import Spec
from wsis.declare.load import DeclarationError, as_json, complaints
from wsis.declare.recipe import Recipe
from wsis.errors import nearest_first, shortened
from wsis.methods import infos

LONGEST = 200  # characters of a dotted key
SEED = "seed: seeds are chosen apart (--seeds, or seeds= of a workflow)"


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested or dotted dictionaries as one dictionary with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def check_settings(settings: dict[str, Any], where: str = "set") -> None:
    """Raise DeclarationError, one line that begins with `where` and names the key, for what no recipe has.

    What a row makes of the settings is checked when it is resolved.
    """
    as_json(settings, where)
    if empty := next(_empty(settings), None):
        raise DeclarationError(f"{where}: {shortened(empty)}: an empty mapping sets nothing")
    given = flatten(settings)
    if "seed" in given:
        raise DeclarationError(f"{where}: {SEED}")
    if long := next((key for key in given if len(key) > LONGEST), None):
        raise DeclarationError(f"{where}: {shortened(long)}: no recipe has such a key")
    tree = _nested(given, where)
    try:
        Recipe.model_validate_json(as_json({"method": next(iter(infos()))} | tree, where))
    except ValidationError as error:
        wrong = [each for each in error.errors() if _is_of(each, given)]
        if wrong:
            raise DeclarationError(f"{where}: {complaints(Recipe, wrong)}") from None


def _empty(tree: dict[str, Any], above: str = "") -> Iterator[str]:
    """Dotted keys of mappings without a key."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _empty(value, f"{above}{key}.") if value else (f"{above}{key}",)


def _nested(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Dotted keys as nested dictionaries."""
    tree: dict[str, Any] = {}
    for dotted, value in given.items():
        *sections, key = dotted.split(".")
        part = tree
        for name in sections:
            part = part.setdefault(name, {})
            if not isinstance(part, dict):
                raise DeclarationError(f"{where}: {dotted}: {name} is given another value as well")
        if isinstance(part.get(key), dict):
            raise DeclarationError(f"{where}: {dotted}: keys inside of it are given as well")
        part[key] = value
    return tree


def _is_of(error: Any, given: dict[str, Any]) -> bool:
    """Whether a complaint is about the settings, not about what a row has beside them."""
    if error["type"] == "missing":
        return False
    return error["type"] != "value_error" or ".".join(map(str, error["loc"])) in given


def types_of(dotted: str, where: str) -> list[Any]:
    """The types that a recipe's key may have, a section's Spec among them; null's is `type(None)`.

    Raises DeclarationError, one line that begins with `where` and names the key, for what no recipe has.
    """
    if dotted == "seed":
        raise DeclarationError(f"{where}: {SEED}")
    kinds: list[Any] = [Recipe]
    for name in dotted.split("."):
        fields: dict[str, Any] = next((kind.model_fields for kind in kinds if _is_section(kind)), {})
        if name not in fields:
            there = f"there are: {nearest_first(name, fields)}" if fields else "what it stands in has no keys"
            raise DeclarationError(f"{where}: {shortened(dotted)}: unknown key ({there})")
        kinds = [*_alternatives(fields[name].annotation)]
    return kinds


def is_text(annotation: Any) -> bool:
    """Whether all values of a type, one of `types_of`, are text; null counts as well."""
    if get_origin(annotation) is Literal:
        return all(isinstance(value, str) for value in get_args(annotation))
    return annotation in (str, type(None))


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Spec)


def _alternatives(annotation: Any) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for inner in get_args(annotation):
            yield from _alternatives(inner)
    else:
        yield annotation
