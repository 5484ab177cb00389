"""The plan of trainings outside of tables: their recipes stand in no table, and their scale is named fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsis.declare.load import ROOT, load_recipe, parse
from wsis.declare.proportions import fit_widths, keep_proportions
from wsis.declare.provider import detailed
from wsis.declare.recipe import Recipe
from wsis.declare.resolve import continued, laid
from wsis.declare.scale import Cost, Scale
from wsis.declare.settings import check_settings
from wsis.declare.stored import stored_recipe
from wsis.errors import WsisError
from wsis.methods import info_of, infos
from wsis.plan import Plan, Run, missing_part

if TYPE_CHECKING:
    from wsis.methods.info import Fit

FIT = "fit"  # the scale of such runs, a part of their paths
SCALE = Scale(
    name=FIT,
    title="trainings outside of tables",
    seeds=(0,),
    cost=Cost(device="this machine", seconds_per_image={}, megabytes={}, source="not known"),
)


def fit_of(method: str) -> Fit:
    """How a method is fitted; WsisError, which says what can be, where it can't."""
    fit = info_of(method).fit
    if isinstance(fit, str):
        raise WsisError(f"{method} can't be fitted: {fit} (these can: {', '.join(fitted())})")
    return fit


def fitted() -> list[str]:
    """The methods that can be fitted."""
    return [name for name, info in infos().items() if not isinstance(info.fit, str)]


def alone_plan(method: str, chosen: dict[str, Any], settings: dict[str, Any], seed: int) -> Plan:
    """The plan of one training and of what it continues.

    chosen, settings: dotted keys of a recipe; settings are the user's, and win. Raises WsisError for a method
    that can't be fitted, and for settings that no recipe has.
    """
    where, fit = f"wsis fit {method}", fit_of(method)
    paper, _, name = fit.recipe.partition("/")
    check_settings(settings)
    published = parse(Recipe, load_recipe(paper, name, where, ROOT), where)
    before = published.model_dump(mode="json")
    tree = laid(before, chosen | settings) | {"seed": seed}
    tree = detailed(tree, published.model.details, (chosen | settings).get("model.details"))
    fit_widths(tree, before, chosen | settings)
    keep_proportions(tree, published, chosen, settings)
    tree, begun = continued(tree, where)
    recipe = parse(Recipe, tree, where).settled()
    if missing := missing_part(recipe):
        raise WsisError(f"{where}: {missing}")
    return _plan([*begun, recipe], published, settings)


def stored_plan(folders: Sequence[Path], settings: dict[str, Any]) -> Plan:
    """The plan of runs that exist, as they were trained."""
    return _plan([stored_recipe(folder) for folder in folders], None, settings)


def _plan(recipes: Sequence[Recipe], published: Recipe | None, settings: dict[str, Any]) -> Plan:
    """published: null for each recipe itself, with no deviations."""
    plan = Plan(SCALE, tuple(sorted({recipe.seed for recipe in recipes})), {}, overrides=settings)
    for number, recipe in enumerate(recipes):
        run = Run(recipe.id, recipe, published or recipe, ancestors=tuple(recipes[:number]))
        run.alone = recipe.schedule.until is None and recipe.data.eval != recipe.data.train
        plan.runs[recipe.id] = run
    return plan
