"""What is seen in training and evaluated on."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsis.declare.base import Count, Fraction, Positive, Spec

# Part of paths below a root, which it must not leave.
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
SCALE_JITTER = "scale_jitter"  # of `data.augment`
# Which instances carry masks in training: none, all, or those of one class group (BoxInst, Sec. 3.6).
Supervision = Literal["boxes", "masks", "masks-voc", "masks-nonvoc", "semantic", "boxes+salient", "proxy"]


class ShapesSpec(Spec):
    """The synthetic data set `shapes` (facts: 96x96 images of 1 to 3 separable objects)."""

    size: Positive = 96  # height and width, pixels
    # hard: two colours, low-contrast sides, same-class overlaps; texture: same-class contacts, edges inside
    kind: Literal["plain", "hard", "texture"] = "plain"
    train_images: Positive = 800
    val_images: Positive = 150
    salient_images: Count = 0
    val_seed: Count = 77  # one validation set for every row and seed of a scale
    low_contrast: Fraction = 0.12  # share of objects close to the background's colour
    salient: Literal["near", "mixed", "far"] = "near"  # how far the salient images are from the others


class DataSpec(Spec):
    """What is seen in training and evaluated on."""

    dataset: Literal["coco", "voc", "shapes"] = "coco"
    train: SplitName = "train2017"
    eval: SplitName = "val2017"
    supervision: Supervision = "boxes"  # proxy: masks that another run made (`Recipe.proxy`)
    train_images: Positive | None = None  # keep the first N images only; null: all
    eval_images: Positive | None = None
    classes: Literal["all", "one"] = "all"  # one: every object is an 'object', in training and evaluation
    # Digest of a user's training annotations and classes (`wsis fit`): other data are another recipe.
    annotations: str | None = None
    # Pixels, one drawn an image.
    short_side: Annotated[tuple[Positive, ...], Field(min_length=1)] = (640, 672, 704, 736, 768, 800)
    eval_short_side: Positive = 800
    max_side: Positive = 1333
    # scale_jitter: flip, and large-scale jitter in a square of side data.short_side (wsis/data/placement.py)
    augment: Literal["flip", "dihedral", "none", "scale_jitter"] = "flip"
    shapes: ShapesSpec = ShapesSpec()
