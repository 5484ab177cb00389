"""BoxCaseg's section of a recipe, each key with the paper's symbol or section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsis.declare.base import Count, Fraction, Positive, Spec, Weight, one_of
from wsis.nn.backbones import giving

Head = Literal["weak", "salient", "transferred"]


class BoxCasegSpec(Spec):
    """BoxCaseg's own knobs (Sec. 3.2 to 3.4, 4.2). Defaults follow its errata, other values are controls."""

    alpha: Fraction = 0.7  # salient against transferred head, Eq. 3
    heads: Annotated[tuple[Head, ...], Field(min_length=1)] = ("weak", "salient", "transferred")
    fusion: Literal["logits", "probabilities"] = "logits"  # what Eq. 3 mixes
    salient_images: Positive = 7991
    ratio: Literal["random", "8:8", "9:7", "10:6", "11:5", "12:4", "13:3", "14:2"] = "random"  # r_ws
    # Of the boxes that overlap another one (IoU above 0.5): the share that an epoch skips; COCO's code: 0.75
    skip_overlapping: Fraction = 0.0
    smooth: Weight = 0.05  # weight of Eq. 2 in Eq. 1
    reduction: Literal["mean", "sum"] = "mean"  # of Eqs. 1 and 2
    bags: Literal["patch", "box"] = "patch"  # positive lines: all that cross the box, or their part inside it
    salient_bags: Literal["mask", "box"] = (
        "mask"  # bags of salient images: the mask's projection or its box's
    )
    shift: Literal["half", "full"] = "half"  # a box's jitter: up to 0.25 of its half size, or of its size
    normalise: Literal["two", "imagenet"] = "two"  # one normalisation for each kind of patch, or ImageNet's
    patch: Positive = 288  # side of a training patch, pixels (Sec. 3.2.2)
    side: Positive = 320  # salient images before the crop; object patches at inference (Sec. 4)
    # Proxy masks, Sec. 3.4
    merge: bool = True
    order: Literal["box", "mask", "random", "larger"] = (
        "box"  # who wins contested pixels: the smaller box, ...
    )
    drop: Fraction | None = 0.95  # proxy box agreement threshold; null: nothing is dropped
    agreement: Literal["plus_one", "exact"] = "plus_one"  # the code's last pixel, or half-open boxes
    proxy: bool = True  # train a Mask R-CNN on the proxy masks; false: the class-agnostic net is evaluated
    # That Mask R-CNN (SGD with steps). The paper says "default settings"; VOC's values are the released ones.
    proxy_backbone: Annotated[str, one_of("backbone", lambda: giving(["pyramid"]))] = "resnet101"
    proxy_lr: Annotated[float, Field(gt=0, le=1e6)] = 0.0075
    proxy_batch: Positive = 6
    proxy_iterations: Count = 22500
    proxy_milestones: tuple[Positive, ...] = (15000,)

    @model_validator(mode="after")
    def _transfer_has_a_source(self) -> BoxCasegSpec:
        if "transferred" in self.heads and "weak" not in self.heads:
            raise ValueError("the transferred head takes its weights from the weak one: add 'weak' to heads")
        if len(set(self.heads)) != len(self.heads):
            raise ValueError("heads: each of weak, salient and transferred at most once")
        return self
