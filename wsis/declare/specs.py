"""The sections of a recipe that belong to one method, each key with its paper's symbol or section."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from wsis.declare.base import Count, Fraction, Positive, Spec


class SimSpec(Spec):
    """SIM's own knobs (Sec. 3.2 to 3.4, 4.1, 6); `variant` governs what is null (errata S1 to S17)."""

    alpha: Fraction = 0.5  # modulation intensity, Eq. 7
    mu: Annotated[float, Field(ge=0)] | None = None  # positive mask weighting, Eq. 6 (S1)
    temperature: Annotated[float, Field(gt=0)] = 1.0  # tau, Eq. 1 (Sec. 4.1 says 0.1, Table 8 1.0; S2)
    # Prototypes, Eqs. 1 to 5
    prototypes: Positive = 10  # L, a class
    prototype_norm: Literal["channels", "prototypes"] | None = None  # unit length over D, or over L (S3)
    assign: Literal["argmax", "sample"] | None = None  # Q's largest entry, or a Gumbel sample of it (S4)
    pixels: Literal["pseudo", "instance"] | None = None  # that move prototypes: label 1, or M_I > 0.7 (S5)
    prototype_momentum: Fraction = 0.999  # gamma, Eq. 4
    sinkhorn_eps: Annotated[float, Field(gt=0)] = 0.05  # epsilon, Eq. 2; the paper gives none
    sinkhorn_iterations: Positive = 3
    pixel_cap: Positive | None = 4096  # pixels of a class in one step
    # Pseudo labels and their loss, Eqs. 7 and 8
    labels: bool = True  # false: the control, in which only `outside` is supervised
    tau_low: Fraction | None = None  # background below (S9)
    tau_high: Fraction | None = None  # foreground above (S9)
    adaptive: bool | None = None  # an object's own high threshold, from 0.7 to tau_high (S9)
    outside: Literal["background", "ignored", "literal"] | None = None  # W outside the box (S10)
    mask_loss: Literal["bce+dice", "focal"] | None = None  # l_mask (S6)
    average: Literal["positives", "pooled"] | None = None  # over instances, or over their pixels (S7)
    lambda_pseudo: Annotated[float, Field(ge=0)] | None = None  # lambda_1, Eq. 10 (S8)
    lambda_ramp: Count | None = None  # iterations over which lambda_1 grows from 0 (S8)
    affinity: Literal["colour", "colour-feature"] | None = None  # of L_pairwise (S11)
    # Momentum network, Sec. 3.4
    momentum: Literal["copy", "released"] | None = None  # a copy of the whole network, or the code's (S12)
    ema: Fraction = 0.9999
    # Copy-paste, Sec. 3.3 and 6.1
    lambda_paste: Annotated[float, Field(ge=0)] = 1.0  # lambda_2, Eq. 10; 0: no copy-paste
    bank: Positive | None = None  # images (S13)
    aliases: bool | None = None  # every entry of a batch is its last image (S13)
    paste_probability: Fraction = 0.5  # an image; the paper gives none
    share: Fraction | None = None  # of an image's objects (S14)
    max_objects: Positive = 3
    replacement: bool | None = None  # draw objects with replacement (S14)
    power: Annotated[float, Field(ge=0)] | None = None  # of the score S in importance sampling (S14)
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


class BoxCasegSpec(Spec):
    """BoxCaseg's own knobs (Sec. 3.2 to 3.4, 4.2). Defaults follow its errata, other values are controls."""

    alpha: Fraction = 0.7  # salient against transferred head, Eq. 3
    heads: tuple[Literal["weak", "salient", "transferred"], ...] = ("weak", "salient", "transferred")
    fusion: Literal["logits", "probabilities"] = "logits"  # what Eq. 3 mixes
    salient_images: Positive = 7991
    ratio: Literal["random", "8:8", "9:7", "10:6", "11:5", "12:4", "13:3", "14:2"] = "random"  # r_ws
    smooth: Annotated[float, Field(ge=0)] = 0.05  # weight of Eq. 2 in Eq. 1
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
    proxy_backbone: Literal["tiny", "resnet50", "resnet101"] = "resnet101"
    proxy_lr: Annotated[float, Field(gt=0)] = 0.0075
    proxy_batch: Positive = 6
    proxy_iterations: Count = 22500
    proxy_milestones: tuple[Positive, ...] = (15000,)

    @model_validator(mode="after")
    def _transfer_has_a_source(self) -> BoxCasegSpec:
        if "transferred" in self.heads and "weak" not in self.heads:
            raise ValueError("the transferred head takes its weights from the weak one: add 'weak' to heads")
        if len(set(self.heads)) != len(self.heads) or not self.heads:
            raise ValueError("heads: each of weak, salient and transferred at most once, and at least one")
        return self


class ProxySpec(Spec):
    """Proxy masks as a Mask R-CNN's training masks: whose they are, and how they are merged and dropped."""

    parent: str  # id of the recipe whose masks they are
    instances: bool = False  # masks with classes and boxes of their own (BAISeg), not for given boxes
    merge: bool = True
    order: Literal["box", "mask", "random", "larger"] = "box"
    drop: Fraction | None = 0.95
    agreement: Literal["plus_one", "exact"] = "plus_one"


class BaisegSpec(Spec):
    """BAISeg's own knobs (Sec. 3.2 to 3.6). Defaults follow its errata."""

    # Network, Secs. 3.3 and 3.4
    cfm: bool = True
    dma: bool = True
    cascades: Positive = 4  # R
    dim: Positive = 128  # d, hidden channels of a CFM
    reduction: Positive = 16  # r: the channel attention's MLP has d / r hidden channels (Eq. 2)
    multi_scale: bool = False  # fuse all backbone stages (Table 6, starred backbones)
    stage_dim: Positive = 128  # channels each fused stage is reduced to (the column "dim" of Table 6)
    # Losses, Eqs. 1, 6 and 7
    ppc: bool = True
    temperature: Annotated[float, Field(gt=0)] = 0.2  # tau, Eq. 6
    samples: Positive = 1024  # pixels of a batch that the contrast compares; ContrastiveSeg's
    views: Positive = 100  # at most, of one class of an image
    contrast_warmup: Count = 5000  # iterations without L_P
    hardest: Annotated[float, Field(gt=0, le=1)] = 0.2  # share of the pixels in L_S; BESTIE's
    weight_ppc: Annotated[float, Field(ge=0)] = 0.3  # alpha, Eq. 7
    weight_boundary: Annotated[float, Field(ge=0)] = 50.0  # beta, Eq. 7
    weight_semantic: Annotated[float, Field(ge=0)] = 1.0  # gamma, Eq. 7
    crop: Positive = 416  # side of a training crop, pixels (Sec. 4.2)
    train_semantics: Literal["ground_truth", "ocrnet"] = "ground_truth"
    # Mask extraction, Sec. 3.6
    # Whose boundary map: the others than the network's are controls; truth, the contours of the annotated
    # objects, is the upper bound of what is extracted from it.
    boundary: Literal["network", "gradient", "none", "truth"] = "network"
    threshold: Fraction | None = None  # of the boundary map; null: chosen on development images
    dev_images: Positive = 100  # at most; training images, where a root has no development split
    thin: bool = True  # non-maximum suppression
    seeds: Literal["semantic", "literal"] = (
        "semantic"  # components of one class, or of all that is no boundary
    )
    relief: Literal["boundary", "image"] = "boundary"  # what watershed floods
    min_area: Positive = 50  # pixels of a component
    refine: bool = True
    closing: Positive = 5  # side of the closing's square, pixels
    eval_semantics: Literal["predicted", "ground_truth", "mask2former"] = "predicted"
    mask_rcnn: bool = False  # train a Mask R-CNN on the predicted masks (the dagger rows)

    @model_validator(mode="after")
    def _widths_fit(self) -> BaisegSpec:
        if self.cfm and self.dma and self.dim % self.reduction:
            raise ValueError(f"reduction {self.reduction} does not divide dim {self.dim}")
        if self.closing % 2 == 0:
            raise ValueError(f"closing {self.closing}: an odd number of pixels")
        return self
