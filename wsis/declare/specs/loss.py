"""The mask losses and their weights."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsis.declare.base import Count, Fraction, Positive, Spec, Weight


class PairwiseSpec(Spec):
    """The pairwise affinity term (BoxInst, Eqs. 4 to 8)."""

    tau: Fraction | None = None  # colour similarity threshold, Eq. 8
    theta: Annotated[float, Field(gt=0, le=1e6)] = 2.0  # Eq. 7
    size: Literal[3, 5, 7] = 3  # K, patch side
    dilation: Positive = 2
    warmup: Count = 10000  # iterations of linear ramp; the paper is silent (erratum B6)
    bottom_rows: Count = 10  # original pixels ignored at the bottom; the paper is silent (erratum B7)
    edges: Literal["any", "centre"] | None = None  # E_in: an endpoint in the box, or the centre pixel (B4)
    normalise: Literal["edges", "supervised"] | None = None  # N: |E_in| an instance, or pooled sum of w (B3)
    colour: Literal["image", "pooled"] | None = None  # Lab then pooled, or pooled uint8 then Lab (B9)


class LossWeights(Spec):
    """What the terms of the loss are multiplied with; the papers weigh them all alike (BoxInst, Eq. 6)."""

    projection: Weight = 1.0
    pairwise: Weight = 1.0  # also with true edge labels
    detection: Weight = 1.0  # FCOS: classes, boxes and centerness


class LossSpec(Spec):
    """Mask losses; the detector's (FCOS) are always on."""

    # For instances whose mask is given: dice (CondInst), the proposed loss with true edge labels (Eqs. 3, 5),
    # or none (they are discarded).
    full: Literal["dice", "proposed", "none"] = "dice"
    # For instances with a box only.
    projection: bool = True  # Eq. 3
    pairwise: PairwiseSpec | None = PairwiseSpec()  # Eq. 8
    average: Literal["instances", "locations"] | None = (
        None  # of L_proj, and of L_pairwise with N = |E_in| (B5)
    )
    proposals: Literal["random", "topk", "one"] | None = None  # positives kept for the mask loss (B8)
    max_proposals: Positive | None = None  # for every two images (random), an image (topk)
    weights: LossWeights = LossWeights()
    # What a mean over objects or pixels is over where a batch is split: the whole of it, or the part that a
    # device holds at once (B14). Null: the variant's, paper's or released's; it is left out of ids.
    normalise: Literal["batch", "device"] | None = None
