"""From a row of a table to the recipes that run at a scale: substitution, fork, seed.

base recipe <- row overrides  = what the paper ran                      (`published`)
<- substitute <- set <- method's set <- paper's set <- user's overrides = what runs here
fork: its warm-up is a recipe of its own, which the row's recipe names as parent
continued: its first iterations are a recipe of another method that stops there, which such rows share
a row that only predicts otherwise: the training is a recipe of its own, which the row's starts from
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any

from wsis.declare.load import ROOT, DeclarationError, load_recipe, merged, parse
from wsis.declare.proportions import WARMUPS, fit_widths, keep_proportions, shorten_warmups
from wsis.declare.provider import detailed, provided
from wsis.declare.recipe import Recipe
from wsis.declare.scale import Overrides, Scale
from wsis.declare.settings import flatten
from wsis.declare.specs.data import SCALE_JITTER
from wsis.declare.stages import of_stages, reading_of, stages, taught
from wsis.declare.table import Row, Table
from wsis.methods import info_of

GENERATED = "about generated images only"  # why a row of ours is no part of a scale on real ones
UNSCALED = ("model", "loss", "schedule", "predict")  # of a recipe without iterations


@dataclass(frozen=True)
class Resolved:
    """A row's recipe at a scale, its ancestors (parents first), or why there is none."""

    published: Recipe
    recipe: Recipe | None
    ancestors: tuple[Recipe, ...] = ()
    reason: str | None = None
    declared: dict[str, Recipe] = field(default_factory=dict)  # id -> what the paper ran, of a first stage


def published_recipe(table: Table, row: Row, root: Path = ROOT) -> Recipe:
    """What the paper ran for this row; what `variant` governs is still open, so that it can be overridden.

    Raises DeclarationError naming the table and the row.
    """
    where = f"{root / table.paper / table.file}: rows.{row.label}.train"
    paper, _, base = f"{table.paper}/{row.base or table.base}".rpartition("/")
    paper = paper.rpartition("/")[2]  # a row's base may be another paper's
    return parse(Recipe, merged(load_recipe(paper, base, where, root), row.train or {}), where)


def resolve(
    table: Table, row: Row, scale: Scale, seed: int, overrides: Overrides | None = None, root: Path = ROOT
) -> Resolved:
    """The recipe of a trained row at `scale` with `seed`; `overrides` are the user's, and win.

    A row of several networks, each of which learns from the masks of the one before, resolves to the last
    one's recipe; the others are among the ancestors.
    """
    published = published_recipe(table, row, root)
    where = f"{table.key}, row '{row.label}', scale {scale.name}"
    if scale.data != "generated" and any(key.startswith("data.shapes") for key in flatten(row.train or {})):
        return Resolved(published, None, reason=GENERATED)
    first, second = stages(published, where, root)
    of_first, of_second = of_stages(flatten(overrides or {}))
    chain = [(recipe, of_first) for recipe in taught(first, of_first, where, root)]
    chain += [(second, of_second)] if second is not None else []
    ancestors: tuple[Recipe, ...] = ()
    declared: dict[str, Recipe] = {}
    resolved: Resolved | None = None
    for recipe, users in chain:
        if recipe.proxy is not None and recipe.proxy.instances:  # nothing is merged or dropped
            users = {key: value for key, value in users.items() if not key.startswith("proxy.")}
        here = recipe
        if resolved is not None:
            before = (*resolved.ancestors, resolved.recipe)
            ancestors += before
            declared |= {made.id: resolved.published for made in before}
            tree = merged(recipe.model_dump(mode="json"), {"proxy.parent": resolved.recipe.id})
            here = parse(Recipe, tree, where)
        resolved = replace(_at_scale(here, table, row, scale, seed, users, where), published=recipe)
        if resolved.recipe is None:
            return resolved
    return replace(resolved, ancestors=(*ancestors, *resolved.ancestors), declared=declared)


def with_seed(resolved: Resolved, seed: int) -> Resolved:
    """What `resolve` gives with another seed; the ids of parents change with it."""
    ids: dict[str, str] = {}

    def reseeded(recipe: Recipe) -> Recipe:
        parts = {name: part for name in ("init", "proxy") if (part := getattr(recipe, name)) is not None}
        moved = {name: part.model_copy(update={"parent": ids[part.parent]}) for name, part in parts.items()}
        copy = recipe.model_copy(update={"seed": seed, **moved})
        ids[recipe.id] = copy.id
        return copy

    ancestors = tuple(reseeded(recipe) for recipe in resolved.ancestors)  # parents first
    declared = {ids[id]: recipe for id, recipe in resolved.declared.items()}
    return replace(resolved, recipe=reseeded(resolved.recipe), ancestors=ancestors, declared=declared)


def _at_scale(
    published: Recipe, table: Table, row: Row, scale: Scale, seed: int, overrides: Overrides, where: str
) -> Resolved:
    """One recipe cut down to a scale, with what it forks from."""
    tree = published.model_dump(mode="json")
    if reason := _substitute(tree, scale):
        return Resolved(published, None, reason=reason)
    fixed = flatten(scale.set)
    for own in scale.of_method("methods", published.method, published.model.head):
        fixed |= flatten(own)
    fixed |= flatten(scale.papers.get(table.paper, {}))
    if reason := _fixed_by_scale(row, fixed, scale):
        return Resolved(published, None, reason=reason)
    users = flatten(overrides)
    if "schedule.until" in users:
        raise DeclarationError(f"{where}: schedule.until is for warm-ups; set schedule.iterations instead")
    if reason := _unlike_method(published, users):
        return Resolved(published, None, reason=reason)
    info = info_of(published.method)
    decided, usual = fixed | users, laid(tree, fixed)
    tree = laid(tree, decided) | {"seed": seed}
    fit_widths(tree, usual, users)
    wants = tree["data"]["supervision"] == "boxes+salient" and tree["data"]["dataset"] == "shapes"
    if wants and not tree["data"]["shapes"]["salient_images"]:
        reason = f"scale {scale.name} draws no salient images for {table.paper}"
        return Resolved(published, None, reason=reason)
    if not published.schedule.total:  # nothing is trained: a scale changes the data alone
        tree |= published.model_dump(mode="json", include={*UNSCALED})
        return Resolved(published, parse(Recipe, tree, where).settled())
    asked = (flatten(row.train or {}) | decided).get("model.details")
    tree = detailed(provided(tree, where), published.model.details, asked)
    for key in ("model.provider", "model.details"):
        users.pop(key, None)
    keep_proportions(tree, published, fixed, users)
    shorten_warmups(tree, usual, users)
    ancestors: list[Recipe] = []
    # A base learns from annotated boxes, which a Mask R-CNN on another network's instances never sees.
    instances = published.proxy is not None and published.proxy.instances
    whole = instances or tree["model"]["head"] in info.networks  # trained from scratch
    if scale.fork and published.method in scale.fork.methods and not whole:
        tree, warmup = _forked(tree, usual, table.paper, scale, users, where)
        ancestors.append(warmup)
    tree, begun = continued(tree, where)
    ancestors += begun
    if (plain := reading_of(tree, decided)) is not None:
        trained = parse(Recipe, plain, where).settled()
        ancestors.append(trained)
        tree = merged(tree, {"schedule.iterations": 0}) | {"init": {"parent": trained.id}}
    return Resolved(published, parse(Recipe, tree, where).settled(), tuple(ancestors))


def continued(tree: dict[str, Any], where: str) -> tuple[dict[str, Any], list[Recipe]]:
    """A recipe that starts where another method's run stops (`Info.continues`), and that run's, if any."""
    continues = info_of(tree["method"]).continues
    over = continues(parse(Recipe, tree, where).settled()) if continues else None
    if not over:
        return tree, []
    begun = parse(Recipe, merged(tree, over), where).settled()
    until, total = begun.schedule.until, begun.schedule.total
    if until >= total:
        raise DeclarationError(f"{where}: a warm-up of {until} iterations leaves nothing of {total}")
    return tree | {"init": {"parent": begun.id, "iteration": until}}, [begun]


def _substitute(tree: dict[str, Any], scale: Scale) -> str | None:
    tables = dict(scale.substitute)
    for own in scale.of_method("substitute_for", tree["method"], tree["model"]["head"]):
        tables |= own
    for key, table in tables.items():
        section, name = _place(tree, key)
        if section is None:
            continue
        value = section[name]
        if value not in table:
            return f"{name} {value} has no counterpart at scale {scale.name}"
        section[name] = table[value]
    for key, by in scale.divide.items():
        section, name = _place(tree, key)
        if section is not None:
            section[name] = max(section[name] // by, 1)
    return None


def _place(tree: dict[str, Any], dotted: str) -> tuple[dict[str, Any] | None, str]:
    """The section of a recipe that a key stands in, None where the recipe has none, and its name there."""
    *sections, name = dotted.split(".")
    return reduce(lambda part, section: part and part[section], sections, tree), name


def laid(tree: dict[str, Any], over: Overrides) -> dict[str, Any]:
    """`over` on `tree`; a loss term that a row has switched off stays off."""
    return merged(tree, over, into_null=False)


def _fixed_by_scale(row: Row, fixed: Overrides, scale: Scale) -> str | None:
    for key, value in flatten(row.train or {}).items():
        if key in fixed and key not in scale.overrule and fixed[key] != value:
            return f"scale {scale.name} fixes {key}, which this row varies"
    return None


def _unlike_method(published: Recipe, users: dict[str, Any]) -> str | None:
    """Why a user's head, supervision or augmentation is none that the row's method has; None where it is."""
    info, head = info_of(published.method), users.get("model.head", published.model.head)
    if users.get("data.augment") == SCALE_JITTER and not info.whole_images:
        return f"method {info.name} learns from image crops, which have no {SCALE_JITTER}"
    if "model.head" in users and not info.has_head(head):
        return f"method {info.name} has no head {head} (it has: {', '.join(info.heads)})"
    kinds = info.learns_from(head)
    supervision = users.get("data.supervision", published.data.supervision)
    if kinds and supervision not in kinds:
        name = info.name + (f" with head {head}" if head in info.networks else "")
        return f"method {name} learns from {' or '.join(kinds)}, not {supervision}"
    return None


def _forked(
    tree: dict[str, Any], usual: dict[str, Any], paper: str, scale: Scale, overrides: Overrides, where: str
) -> tuple[dict[str, Any], Recipe]:
    """The row's tree as a fork, and the recipe of its warm-up.

    usual: the tree without the user's overrides. Those win over what the fork sets, but in the warm-up not
    over its method, data and losses.
    """
    supervision = tree["data"]["supervision"]
    for warmup in scale.fork.warmups.values():
        if warmup.papers and paper not in warmup.papers:
            continue
        if tree["method"] in warmup.methods and supervision in warmup.supervision:
            plain = merged(tree, {"predict.masks": "predicted"})
            fixed = {key for key in flatten(warmup.set) if not key.startswith("schedule.")}
            free = {key: value for key, value in overrides.items() if key not in fixed}
            parent = parse(Recipe, _over(plain, usual, warmup.set, free), where).settled()
            row = scale.fork.set if warmup.row is None else warmup.row
            return _over(tree, usual, row, overrides) | {"init": {"parent": parent.id}}, parent
    raise DeclarationError(f"{where}: the scale declares no warm-up of {tree['method']} for '{supervision}'")


def _over(tree: dict[str, Any], usual: dict[str, Any], fork: Overrides, users: Overrides) -> dict[str, Any]:
    """What a fork sets on `tree`, then the user. Its warm-ups are those of a schedule that it has itself."""
    over = laid(laid(tree, fork), users)
    shorten_warmups(over, laid(usual, fork), users, {*WARMUPS} & {*flatten(fork)})
    return over
