"""Which recipes a row means: most one, some two, and some another prediction of a recipe that others train.

Two-stage rows: a network that makes proxy masks, and the one that is trained on them. They run as two recipes
(`Info.stages`), so that rows that differ in the second alone share the first.
Taught rows: another network, declared apart, makes what the row's own learns from (`Info.teacher`).
Readings: rows that only predict otherwise (box masks, `Info.readings`) start from the weights of one training
and train nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.declare.load import load_recipe, merged, parse
from wsis.declare.recipe import SECTIONS, Recipe
from wsis.methods import info_of, infos

FIRST_ONLY = ("schedule.lr", "schedule.batch", "schedule.iterations", "schedule.milestones")


def of_stages(overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A user's settings (dotted keys) for the first and for the second stage.

    Learning rate, batch, iterations and milestones are the first's; the second has keys of its own in the
    first's section (`Info.second`).
    """
    moved = {key: other for info in infos().values() for key, other in info.second.items()}
    first = {key: value for key, value in overrides.items() if key not in moved}
    sections = tuple(f"{name}." for name in SECTIONS)
    second = {k: v for k, v in first.items() if k not in FIRST_ONLY and not k.startswith(sections)}
    return first, second | {moved[key]: value for key, value in overrides.items() if key in moved}


def stages(published: Recipe, where: str, root: Path) -> tuple[Recipe, Recipe | None]:
    """The recipes that a declared row means: itself and nothing, or its first and its second stage.

    The second's `proxy.parent` is still the published first stage. Raises DeclarationError where its base is
    not declared.
    """
    split = info_of(published.method).stages
    parts = split(published) if split else None
    if parts is None:
        return published, None
    tree = published.model_dump(mode="json")
    first = parse(Recipe, merged(tree, parts.first), where)
    if parts.second is None:
        return first, None
    shared = {
        "variant": tree["variant"],
        "data.train": tree["data"]["train"],
        "data.eval": tree["data"]["eval"],
        "data.supervision": "proxy",
        "data.shapes": tree["data"]["shapes"],
        "model.weights": tree["model"]["weights"],
        "proxy.parent": first.id,
    }
    paper, _, name = parts.base.partition("/")
    base = load_recipe(paper, name, f"{where}, second stage", root)
    return first, parse(Recipe, merged(base, {**shared, **parts.second}), where)


def taught(published: Recipe, users: dict[str, Any], where: str, root: Path) -> tuple[Recipe, ...]:
    """A declared recipe, behind the one of the network that it learns from, if any; on the same data.

    users: the user's settings, dotted keys. The pupil's `proxy.parent` is the published teacher. Raises
    DeclarationError where the teacher is not declared.
    """
    tree, teacher = published.model_dump(mode="json"), info_of(published.method).teacher
    name = teacher(published, users) if teacher else None
    if name is None:
        return (published,)
    paper, _, base = name.partition("/")
    shared = {f"data.{key}": tree["data"][key] for key in ("dataset", "train", "eval", "shapes")}
    first = merged(load_recipe(paper, base, f"{where}, its teacher", root), shared)
    made = parse(Recipe, first | {"variant": tree["variant"]}, where)
    as_made = {"proxy.instances": True, "proxy.merge": False, "proxy.drop": None, "proxy.parent": made.id}
    return made, parse(Recipe, merged(tree, as_made), where)


def reading_of(tree: dict[str, Any], decided: dict[str, Any]) -> dict[str, Any] | None:
    """The recipe of the training whose predictions a row varies; None where the row is that training itself.

    tree: the row's recipe at its scale. decided: what the scale and the user set, dotted keys.
    """
    usual = {"predict.masks": "predicted"}
    for dotted in info_of(tree["method"]).readings:
        section, _, key = dotted.partition(".")
        usual[dotted] = decided.get(dotted, SECTIONS[section]().model_dump(mode="json")[key])
    plain = merged(tree, usual)
    return None if plain == tree else plain
