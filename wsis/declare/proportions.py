"""What a shorter schedule, a smaller batch or other data imply for a recipe, unless somebody decided it."""

from __future__ import annotations

from typing import Any

from wsis.declare.recipe import Recipe
from wsis.declare.scale import Overrides
from wsis.methods import info_of


def keep_proportions(tree: dict[str, Any], published: Recipe, scale: Overrides, user: Overrides) -> None:
    """Change `tree`, the recipe at a scale, where neither the scale nor the user decided (dotted keys).

    Milestones keep their share of the run (a 3x schedule has its own); SGD's learning rate is proportional to
    the batch (0.01 at 16 images, BoxInst, Sec. 3.1); the method looks after its own section.
    """
    here, paper, decided = tree["schedule"], published.schedule, scale | user
    total = round(here["iterations"] * here["length"])
    if "schedule.milestones" not in decided and total != paper.total:
        here["milestones"] = [max(round(m * total / paper.total), 1) for m in paper.milestones]
    if "schedule.lr" not in decided and here["optimizer"] == "sgd":
        here["lr"] = paper.lr * here["batch"] / paper.batch
    if keep := info_of(published.method).keep_proportions:
        keep(tree, published, scale, user)
