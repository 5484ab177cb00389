"""What a run was trained with, beside what the plan would train.

An id leaves out what is default: a default may change and the id not. The recipe.json in a run's folder has
every key, and decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wsis.declare.load import parse
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.records import read_record

_ABSENT = object()
MODEL, OLD_MODEL = "model.safetensors", "model.pt"


def weights_file(folder: Path) -> Path:
    """The file of a run's weights, there or to come; runs of former versions have a model.pt."""
    new, old = folder / MODEL, folder / OLD_MODEL
    return old if old.exists() and not new.exists() else new


def stored_recipe(folder: Path) -> Recipe:
    """The recipe that the run in `folder` was trained with. Raises WsisError naming the file and the key."""
    path = folder / "recipe.json"
    return parse(Recipe, read_record(path)["recipe"], str(path))


def difference(folder: Path, recipe: Recipe) -> str | None:
    """'trained with predict.nms 0.6 (planned: 0.5)' where a run's folder holds other settings than `recipe`.

    None where they are the same, or where there is no recipe.json. One that is damaged or another run's is a
    difference. A key that recipe.json is older than had its default; a section that is null is none.
    """
    path = folder / "recipe.json"
    if not path.exists():
        return None
    try:
        stored = read_record(path, recipe.id)["recipe"]
    except WsisError as error:
        return str(error)
    if stored == (planned := recipe.settled().model_dump(mode="json")):
        return None
    chosen = recipe.settled().model_dump(mode="json", exclude_defaults=True)
    return "trained with " + ", ".join(texts) if (texts := [*_differing(stored, planned, chosen)]) else None


def _differing(
    stored: dict[str, Any], planned: dict[str, Any], chosen: dict[str, Any], above: str = ""
) -> Iterator[str]:
    """A text for each key whose values differ. chosen: the part of `planned` that is no default."""
    for name in stored | planned:
        then, now = stored.get(name, _ABSENT), planned.get(name, _ABSENT)
        new, gone = then is _ABSENT and name not in chosen, now is _ABSENT and then is None
        if isinstance(then, dict) and isinstance(now, dict):
            yield from _differing(then, now, chosen.get(name, {}), f"{above}{name}.")
        elif then != now and not new and not gone:
            yield f"{above}{name} {_text(then)} (planned: {_text(now)})"


def _text(value: Any) -> str:
    return "absent" if value is _ABSENT else json.dumps(value)
