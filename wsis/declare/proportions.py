"""What a shorter schedule, a smaller batch or other data imply for a recipe, unless somebody decided it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from wsis.declare.recipe import Recipe
from wsis.declare.scale import Overrides
from wsis.methods import info_of
from wsis.nn.backbones import BACKBONES

WARMUPS = ("schedule.warmup", "loss.pairwise.warmup")  # of every method's recipe


def keep_proportions(tree: dict[str, Any], published: Recipe, scale: Overrides, user: Overrides) -> None:
    """Change `tree`, the recipe at a scale, where neither the scale nor the user decided (dotted keys).

    Milestones keep their share of the run (a 3x schedule has its own); SGD's learning rate is proportional to
    the batch (0.01 at 16 images, BoxInst, Sec. 3.1); the method looks after its own section.
    """
    here, paper, decided = tree["schedule"], published.schedule, scale | user
    total = total_of(here)
    if "schedule.milestones" not in decided and total != paper.total:
        here["milestones"] = [max(round(m * total / paper.total), 1) for m in paper.milestones]
    if "schedule.lr" not in decided and here["optimizer"] == "sgd":
        here["lr"] = paper.lr * here["batch"] / paper.batch
    keep = info_of(published.method).keep_proportions
    if keep and (published.section is None or tree[published.method] is not None):
        keep(tree, published, scale, user)  # a section that was switched off is refused with the whole recipe


def shorten_warmups(
    tree: dict[str, Any], usual: dict[str, Any], user: Overrides, among: Collection[str] = WARMUPS
) -> None:
    """Warm-ups keep their share of a schedule that the user shortens, unless the user set them.

    usual: what the recipe would be without the user's settings. among: the warm-ups that are looked at.
    """
    total, before = total_of(tree["schedule"]), total_of(usual["schedule"])
    if total >= before:
        return
    for dotted in among:
        *sections, key = dotted.split(".")
        part: Any = tree
        for name in sections:
            part = part and part[name]
        if part and part[key] and dotted not in user:
            part[key] = max(round(part[key] * total / before), 1)


def fit_widths(tree: dict[str, Any], usual: dict[str, Any], user: Overrides) -> None:
    """A backbone that the user chose brings the widths of what is built on it (`Backbone.beside`)."""
    name = tree["model"]["backbone"]
    if name != usual["model"]["backbone"]:
        beside = BACKBONES[name].beside
        tree["model"] |= {key: value for key, value in beside.items() if f"model.{key}" not in user}


def total_of(schedule: dict[str, Any]) -> int:
    """Iterations of a whole schedule that is not yet validated."""
    return round(schedule["iterations"] * schedule["length"])
