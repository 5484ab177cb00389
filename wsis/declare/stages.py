"""Two-stage rows: a network that makes proxy masks, and the Mask R-CNN that is trained on them (BoxCaseg).

A row is declared as one recipe with `boxcaseg.proxy: true`. It runs as two, so that rows that differ in
merging and dropping, or in the Mask R-CNN alone, share the first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.declare.load import DeclarationError, load_recipes, merged, parse
from wsis.declare.recipe import BoxCasegSpec, Recipe

# Keys of `boxcaseg` that the first stage has no use for: the masks' merging and dropping, and the second's.
SECOND = (
    "merge", "order", "drop", "agreement", "proxy",
    "proxy_backbone", "proxy_lr", "proxy_batch", "proxy_iterations", "proxy_milestones",
)  # fmt: skip


FOR_SECOND = {
    "boxcaseg.merge": "proxy.merge",
    "boxcaseg.order": "proxy.order",
    "boxcaseg.drop": "proxy.drop",
    "boxcaseg.agreement": "proxy.agreement",
    "boxcaseg.proxy_backbone": "model.backbone",
    "boxcaseg.proxy_lr": "schedule.lr",
    "boxcaseg.proxy_batch": "schedule.batch",
    "boxcaseg.proxy_iterations": "schedule.iterations",
    "boxcaseg.proxy_milestones": "schedule.milestones",
}
FIRST_ONLY = ("schedule.lr", "schedule.batch", "schedule.iterations", "schedule.milestones")


def of_stages(overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A user's settings (dotted keys) for the first and for the second stage.

    Learning rate, batch, iterations and milestones are the first's; the second has `boxcaseg.proxy_*`.
    """
    first = {key: value for key, value in overrides.items() if key not in FOR_SECOND}
    second = {k: v for k, v in first.items() if k not in FIRST_ONLY and not k.startswith("boxcaseg.")}
    second |= {FOR_SECOND[key]: value for key, value in overrides.items() if key in FOR_SECOND}
    return first, second


def stages(published: Recipe, where: str, root: Path) -> tuple[Recipe, Recipe | None]:
    """The recipes that a declared row means: itself and nothing, or its first and its second stage.

    The second's `proxy.parent` is still the published first stage. Raises DeclarationError where the paper's
    recipe.yaml has no Mask R-CNN for this data set.
    """
    spec = published.boxcaseg
    if spec is None:
        return published, None
    tree = published.model_dump(mode="json")
    plain = BoxCasegSpec(proxy=False).model_dump(mode="json")
    first = parse(Recipe, merged(tree, {f"boxcaseg.{key}": plain[key] for key in SECOND}), where)
    if not spec.proxy:
        return first, None
    name, named = f"mask-rcnn-{published.data.dataset}", load_recipes("boxcaseg", root)
    if name not in named:
        raise DeclarationError(f"{where}: boxcaseg/recipe.yaml has no '{name}', the base of the second stage")
    over: dict[str, Any] = {
        "variant": tree["variant"],
        "data.train": tree["data"]["train"],
        "data.eval": tree["data"]["eval"],
        "data.supervision": "proxy",
        "data.shapes": tree["data"]["shapes"],
        "model.backbone": spec.proxy_backbone,
        "model.weights": tree["model"]["weights"],
        "schedule.lr": spec.proxy_lr,
        "schedule.batch": spec.proxy_batch,
        "schedule.iterations": spec.proxy_iterations,
        "schedule.milestones": list(spec.proxy_milestones),
        "proxy": {
            "parent": first.id,
            **{key: tree["boxcaseg"][key] for key in ("merge", "order", "drop", "agreement")},
        },
    }
    return first, parse(Recipe, merged(named[name], over), where)
