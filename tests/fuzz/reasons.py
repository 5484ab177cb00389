"""Why a bad input may be taken: read by other means than the project's, it has a meaning after all."""

from __future__ import annotations

import json
import math
from typing import Any

import yaml
from pycocotools import mask as masks

from tests.fuzz import acts
from wsis.configuration import overrides, seeds
from wsis.errors import WsisError
from wsis.plan import make_plan

SAME = "nothing that is read was changed"


def of_declarations(name: str, content: bytes) -> str | None:
    """Each changed value has the type of the one before, or was optional."""
    changes = list(_changes(yaml.safe_load(acts.good(name)), yaml.safe_load(content.decode("utf-8-sig"))))
    if any(old is not None and new is not None and _kind(old) != _kind(new) for old, new in changes):
        return None
    return (
        f"other {', '.join(sorted({_kind(new if old is None else old) for old, new in changes}))}"
        if changes
        else SAME
    )


def _changes(old: Any, new: Any) -> Any:
    """Pairs of values that differ; None for one that is absent."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from _changes(old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for place in range(max(len(old), len(new))):
            yield from _changes(*(part[place] if place < len(part) else None for part in (old, new)))
    elif old != new:
        yield old, new


def _kind(value: Any) -> str:
    return "number" if type(value) in (int, float) else type(value).__name__


def of_configuration(config: dict[str, Any]) -> str | None:
    """Whatever it sets stands in the recipes, or they have no such section."""
    given = overrides(config)
    try:
        plan = make_plan("smoke", seeds(config), given)
    except WsisError:
        return "refused where the papers that it is about are planned"
    recipes = [run.recipe.settled().model_dump(mode="json") for run in plan.runs.values()]
    for key, value in given.items():
        if value is not None and not any(_at(recipe, key) == value for recipe in recipes):
            return None
    return f"set as said: {', '.join(sorted({*config, *given}))}" if config else "nothing is configured"


def _at(tree: Any, key: str) -> Any:
    for name in key.split("."):
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def of_files(protocol: str, which: int, content: bytes) -> str | None:
    """Every mask is its own encoding by pycocotools, every id known, every score finite."""
    good, tree = acts.pair()[which], json.loads(content)
    if tree == good:
        return SAME
    truth = tree if which else acts.pair()[1]
    sizes = {image["id"]: [image["height"], image["width"]] for image in truth["images"]}
    classes = {category["id"] for category in truth["categories"]}
    for entry in tree["annotations"] if which else tree:
        size = sizes[entry["image_id"]]
        outline = entry["segmentation"]
        if isinstance(outline, dict) and isinstance(outline["counts"], str):
            again = masks.encode(masks.decode(outline))
            if again["size"] != size or masks.area(again) != masks.area(outline):
                return None
        if entry["category_id"] not in classes or not (which or math.isfinite(entry["score"])):
            return None
    return "all that is evaluated is whole; other values, or keys that nobody reads"


def of_weights(suffix: str, content: Any, reader: str) -> str:
    """`load_foreign` itself asks that they are finite, by name, and of the network's shapes."""
    return f"finite tensors by name, as a {reader} asks"


def of_file_names(name: str) -> str | None:
    """`open_pictures` itself asks that nothing outside of the root was read."""
    return (
        "another name of the picture in the root"
        if name.rstrip("/").endswith(("1.png", "near.png"))
        else None
    )
