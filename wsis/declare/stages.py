"""Rows that share a training: what runs of one recipe, as the paper declares it.

Two-stage rows: a network that makes proxy masks, and the Mask R-CNN that is trained on them. A row with
`boxcaseg.proxy: true` or `baiseg.mask_rcnn: true` runs as two recipes, so that rows that differ in merging
and dropping, or in the Mask R-CNN alone, share the first.
Readings: rows that only predict otherwise (BoxInst's box masks, BAISeg's mask extraction) start from the
weights of one training and train nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsis.declare.load import DeclarationError, load_recipes, merged, parse
from wsis.declare.recipe import Recipe
from wsis.declare.specs import BaisegSpec, BoxCasegSpec

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
# Keys of `baiseg` that a trained network has no use for: how masks are extracted.
EXTRACTION = (
    "boundary", "threshold", "dev_images", "thin", "seeds", "relief", "min_area", "refine", "closing",
    "eval_semantics",
)  # fmt: skip
FIRST_ONLY = ("schedule.lr", "schedule.batch", "schedule.iterations", "schedule.milestones")


def of_stages(overrides: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A user's settings (dotted keys) for the first and for the second stage.

    Learning rate, batch, iterations and milestones are the first's; the second has `boxcaseg.proxy_*`.
    """
    first = {key: value for key, value in overrides.items() if key not in FOR_SECOND}
    own = ("boxcaseg.", "baiseg.")
    second = {k: v for k, v in first.items() if k not in FIRST_ONLY and not k.startswith(own)}
    second |= {FOR_SECOND[key]: value for key, value in overrides.items() if key in FOR_SECOND}
    return first, second


def stages(published: Recipe, where: str, root: Path) -> tuple[Recipe, Recipe | None]:
    """The recipes that a declared row means: itself and nothing, or its first and its second stage.

    The second's `proxy.parent` is still the published first stage. Raises DeclarationError where the paper's
    recipe.yaml has no Mask R-CNN for this data set.
    """
    if published.baiseg is not None and published.baiseg.mask_rcnn:
        return _retrained(published, where, root)
    spec = published.boxcaseg
    if spec is None:
        return published, None
    tree = published.model_dump(mode="json")
    plain = BoxCasegSpec(proxy=False).model_dump(mode="json")
    first = parse(Recipe, merged(tree, {f"boxcaseg.{key}": plain[key] for key in SECOND}), where)
    if not spec.proxy:
        return first, None
    over = _shared(tree) | {
        "model.backbone": spec.proxy_backbone,
        "schedule.lr": spec.proxy_lr,
        "schedule.batch": spec.proxy_batch,
        "schedule.iterations": spec.proxy_iterations,
        "schedule.milestones": list(spec.proxy_milestones),
        "proxy": {
            "parent": first.id,
            **{key: tree["boxcaseg"][key] for key in ("merge", "order", "drop", "agreement")},
        },
    }
    return first, parse(Recipe, merged(_mask_rcnn(published, where, root), over), where)


def _retrained(published: Recipe, where: str, root: Path) -> tuple[Recipe, Recipe]:
    """BAISeg, and a ResNet-50 Mask R-CNN on its masks of the training images (erratum mask-rcnn-retraining).

    Those masks come from the semantic masks that BAISeg was trained with, whatever is evaluated.
    """
    tree = published.model_dump(mode="json")
    over = {"baiseg.mask_rcnn": False, "baiseg.eval_semantics": BaisegSpec().eval_semantics}
    first = parse(Recipe, merged(tree, over), where)
    proxy = {"parent": first.id, "instances": True, "merge": False, "drop": None}
    over = _shared(tree) | {"model.backbone": "resnet50", "proxy": proxy}
    return first, parse(Recipe, merged(_mask_rcnn(published, where, root), over), where)


def reading_of(tree: dict[str, Any], decided: dict[str, Any]) -> dict[str, Any] | None:
    """The training that a row is another prediction of; None where the row is that training itself.

    tree: the row's recipe at its scale. decided: what the scale and the user set, dotted keys.
    """
    plain = merged(tree, {"predict.masks": "predicted"})
    if tree["baiseg"] is not None:
        usual = BaisegSpec().model_dump(mode="json")
        keys = {f"baiseg.{key}": decided.get(f"baiseg.{key}", usual[key]) for key in EXTRACTION}
        plain = merged(plain, keys)
    return None if plain == tree else plain


def _mask_rcnn(published: Recipe, where: str, root: Path) -> dict[str, Any]:
    """The declared Mask R-CNN of a recipe's data set, the base of its second stage."""
    name, named = f"mask-rcnn-{published.data.dataset}", load_recipes("boxcaseg", root)
    if name not in named:
        raise DeclarationError(f"{where}: boxcaseg/recipe.yaml has no '{name}', the base of the second stage")
    return named[name]


def _shared(tree: dict[str, Any]) -> dict[str, Any]:
    """What both stages have in common."""
    return {
        "variant": tree["variant"],
        "data.train": tree["data"]["train"],
        "data.eval": tree["data"]["eval"],
        "data.supervision": "proxy",
        "data.shapes": tree["data"]["shapes"],
        "model.weights": tree["model"]["weights"],
    }
