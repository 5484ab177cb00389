"""BAISeg's rows as declared: what a shorter schedule does, and which rows share a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsis.methods.baiseg.spec import BaisegSpec
from wsis.methods.info import Stages

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe

# How masks are extracted, which a trained network has no use for.
EXTRACTION = tuple(
    f"baiseg.{key}"
    for key in (
        "boundary", "threshold", "dev_images", "thin", "seeds", "relief", "min_area", "refine", "closing",
        "eval_semantics",
    )
)  # fmt: skip


def stages(recipe: Recipe) -> Stages | None:
    """BAISeg, then a ResNet-50 Mask R-CNN on its masks of the training images.

    Those masks are extracted from the semantic masks that BAISeg was trained with, whatever is evaluated
    (erratum mask-rcnn-retraining).
    """
    if not recipe.baiseg.mask_rcnn:
        return None
    first = {"baiseg.mask_rcnn": False, "baiseg.eval_semantics": BaisegSpec().eval_semantics}
    proxy = {"proxy.instances": True, "proxy.merge": False, "proxy.drop": None}
    base = f"boxcaseg/mask-rcnn-{recipe.data.dataset}"
    return Stages(first, {"model.backbone": "resnet50"} | proxy, base)


def teacher(recipe: Recipe, users: dict[str, Any]) -> str | None:
    """OCRNet, where it is trained: a row of Table 1 learns from its semantic maps of the training images."""
    asked = {
        key: users.get(f"baiseg.{key}", getattr(recipe.baiseg, key)) for key in ("train_semantics", "maps")
    }
    return "baiseg/ocrnet" if asked == {"train_semantics": "ocrnet", "maps": "trained"} else None


def keep_proportions(
    tree: dict[str, Any], published: Recipe, scale: dict[str, Any], user: dict[str, Any]
) -> None:
    """The contrast's warm-up keeps its share; the scale's own does where the user shortens the run."""
    key, whole = "baiseg.contrast_warmup", _total(tree["schedule"])
    if key in user:
        return
    of, warmup = published.schedule.total, published.baiseg.contrast_warmup
    if key in scale:
        parts = {name.removeprefix("schedule."): value for name, value in scale.items()}
        of, warmup = _total(published.schedule.model_dump() | parts), scale[key]
    if whole < of or key not in scale:
        tree["baiseg"]["contrast_warmup"] = round(warmup * whole / of)


def _total(schedule: dict[str, Any]) -> int:
    return round(schedule["iterations"] * schedule["length"])
