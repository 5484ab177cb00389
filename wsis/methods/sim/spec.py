"""SIM's section of a recipe, each key with the paper's symbol or section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsis.declare.base import Count, Fraction, Positive, Spec, Weight


class SimSpec(Spec):
    """SIM's own knobs (Sec. 3.2 to 3.4, 4.1, 6); `variant` governs what is null (errata S1 to S24)."""

    alpha: Fraction = 0.5  # modulation intensity, Eq. 7
    mu: Weight | None = None  # positive mask weighting, Eq. 6 (S1)
    temperature: Annotated[float, Field(gt=0, le=1e6)] = 1.0  # tau, Eq. 1 (Sec. 4.1: 0.1, Table 8: 1.0; S2)
    # Prototypes, Eqs. 1 to 5
    prototypes: Positive = 10  # L, a class
    prototype_norm: Literal["channels", "prototypes"] | None = None  # unit length over D, or over L (S3)
    assign: Literal["argmax", "sample"] | None = None  # Q's largest entry, or a Gumbel sample of it (S4)
    pixels: Literal["pseudo", "instance"] | None = None  # that move prototypes: label 1, or M_I > 0.7 (S5)
    # These two are left out of ids where they are null, which stands for the variant's.
    centre: Literal["mean", "sum"] | None = None  # of a cluster, Eq. 5; sum: scaled to unit length (S21)
    assigned_by: Literal["student", "momentum"] | None = None  # whose features have scores for Q (S24)
    prototype_momentum: Fraction = 0.999  # gamma, Eq. 4
    sinkhorn_eps: Annotated[float, Field(gt=0, le=1e6)] = 0.05  # epsilon, Eq. 2; the paper gives none
    sinkhorn_iterations: Positive = 3
    pixel_cap: Positive | None = 4096  # pixels of a class in one step
    # Pseudo labels and their loss, Eqs. 7 and 8
    labels: bool = True  # false: the control, in which only `outside` is supervised
    tau_low: Fraction | None = None  # background below (S9)
    tau_high: Fraction | None = None  # foreground above (S9)
    adaptive: bool | None = None  # an object's own high threshold, from 0.7 to tau_high (S9)
    outside: Literal["background", "ignored", "literal"] | None = None  # W outside the box (S10)
    # apart: the cells' loss is a mean over W inside the box plus one over W outside; joint: one mean over W
    regions: Literal["joint", "apart"] = "joint"
    mask_loss: Literal["bce+dice", "focal"] | None = None  # l_mask (S6)
    average: Literal["positives", "pooled"] | None = None  # over instances, or over their pixels (S7)
    lambda_pseudo: Weight | None = None  # lambda_1, Eq. 10 (S8)
    lambda_ramp: Count | None = None  # iterations over which lambda_1 grows from 0 (S8)
    affinity: Literal["colour", "colour-feature"] | None = None  # of L_pairwise (S11)
    # Momentum network, Sec. 3.4
    momentum: Literal["copy", "released"] | None = None  # a copy of the whole network, or the code's (S12)
    ema: Fraction = 0.9999
    # Copy-paste, Sec. 3.3 and 6.1
    lambda_paste: Weight = 1.0  # lambda_2, Eq. 10; 0: no copy-paste
    bank: Positive | None = None  # images (S13)
    aliases: bool | None = None  # every entry of a batch is its last image (S13)
    paste_probability: Fraction = 0.5  # an image; the paper gives none
    share: Fraction | None = None  # of an image's objects (S14)
    max_objects: Positive = 3
    replacement: bool | None = None  # draw objects with replacement (S14)
    power: Weight | None = None  # of the score S in importance sampling (S14)
    paste_mask: Literal["pseudo", "instance"] | None = None  # cut along label 1, or M_I > 0.7 (S15)
    paste_average: Literal["pasted", "all"] | None = None  # Eq. 9 over the pasted, or over all (S16)
    paste_boxes: Literal["source", "tight"] | None = None  # box of a pasted object (S17)
    composites: bool | None = None  # pasted images enter the bank again
    visible: Fraction | None = None  # objects whose box keeps less than this share uncovered are removed
    warmup: Count = (
        10000  # iterations with BoxInst's losses only: a run of its own, which SIM's rows continue
    )

    @model_validator(mode="after")
    def _ordered_thresholds(self) -> SimSpec:
        if self.tau_low is not None and self.tau_high is not None and self.tau_low > self.tau_high:
            raise ValueError(f"tau_low {self.tau_low:g} is above tau_high {self.tau_high:g}")
        return self
