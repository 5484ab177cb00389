"""A recipe: everything that determines a training, validated and content-addressed.

Every key carries the paper's symbol or section. `variant` chooses between the paper's equations and
what the released code does; the keys it governs are null until `Recipe.settled` fills them, so that a
recipe file shows only what somebody decided.
"""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wsis.declare.variant import VARIANT

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]


class Spec(BaseModel):
    """Base of every declared object: unknown keys, wrong types, NaN and infinity are refused; frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


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
    train: str = "train2017"
    eval: str = "val2017"
    # Which instances carry masks in training: none, all, or those of one class group (BoxInst, Sec. 3.6).
    supervision: Literal[
        "boxes", "masks", "masks-voc", "masks-nonvoc", "semantic", "boxes+salient", "proxy"
    ] = "boxes"  # proxy: masks that another run made (`Recipe.proxy`)
    train_images: Positive | None = None  # keep the first N images only; null: all
    eval_images: Positive | None = None
    short_side: tuple[Positive, ...] = (640, 672, 704, 736, 768, 800)  # pixels, one drawn an image
    eval_short_side: Positive = 800
    max_side: Positive = 1333
    augment: Literal["flip", "dihedral", "none"] = "flip"
    shapes: ShapesSpec = ShapesSpec()


class ModelSpec(Spec):
    """The network: backbone, neck, FCOS detector and dynamic mask head (CondInst)."""

    backbone: Literal[
        "tiny", "resnet50", "resnet101", "resnet101-dcn", "swin-b", "vgg16",
        "hrnet-w32", "hrnet-w48", "hrnetv2-w48", "none",
        "tiny-resnet50", "tiny-resnet101", "tiny-hrnet-w32", "tiny-hrnet-w48", "tiny-hrnetv2-w48",
    ] = "resnet50"  # fmt: skip
    neck: Literal["fpn", "bifpn", "none"] = "fpn"
    head: Literal["condinst", "mask2former", "mask_rcnn", "boxcaseg", "baiseg", "none"] = "condinst"
    weights: str = "imagenet"  # "imagenet" (torchvision), "none", or the path of a local file
    norm: Literal["frozen", "batch"] = "frozen"  # the backbone's batch norm
    channels: Positive = 256  # FPN and detector towers
    tower_convs: Positive = 4
    mask_channels: Positive | None = None  # C_m, mask branch output
    head_channels: Positive | None = None  # h, hidden channels of the dynamic head (Sec. 3.1: 8 -> 16)


class PairwiseSpec(Spec):
    """The pairwise affinity term (BoxInst, Eqs. 4 to 8)."""

    tau: Fraction | None = None  # colour similarity threshold, Eq. 8
    theta: Annotated[float, Field(gt=0)] = 2.0  # Eq. 7
    size: Literal[3, 5, 7] = 3  # K, patch side
    dilation: Positive = 2
    warmup: Count = 10000  # iterations of linear ramp; the paper is silent (erratum B6)
    bottom_rows: Count = 10  # original pixels ignored at the bottom; the paper is silent (erratum B7)
    edges: Literal["any", "centre"] | None = None  # E_in: an endpoint in the box, or the centre pixel (B4)
    normalise: Literal["edges", "supervised"] | None = None  # N: |E_in| an instance, or pooled sum of w (B3)
    colour: Literal["image", "pooled"] | None = None  # Lab then pooled, or pooled uint8 then Lab (B9)


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


class ScheduleSpec(Spec):
    """Optimiser and schedule. `iterations` are those of a 1x schedule; `length` multiplies them."""

    optimizer: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.01
    momentum: Fraction = 0.9
    betas: tuple[float, float] = (0.9, 0.999)  # of AdamW and Adam
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    batch: Positive = 16  # images a step, over all devices
    devices: Positive = 8
    iterations: Count = 90000
    length: Annotated[float, Field(gt=0)] = 1.0  # 1: "1x", 3: "3x", ...
    milestones: tuple[Positive, ...] = (60000, 80000)  # iterations at which lr is divided by ten
    decay: Literal["step", "poly", "cosine"] = "step"
    power: Annotated[float, Field(gt=0)] = 0.9  # of poly
    warmup: Count = 1000  # iterations of linear lr warm-up
    warmup_factor: Fraction = 0.001  # from lr * this
    clip: Annotated[float, Field(ge=0)] = 0.0  # gradient norm; 0: no clipping
    precision: Literal["32", "bf16", "16"] = "32"
    until: Positive | None = None  # stop here: a warm-up, which other recipes continue

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """32 and 16 as well: on a command line their quotes are lost."""
        return str(value) if isinstance(value, int) else value

    @property
    def total(self) -> int:
        """Iterations of the whole schedule."""
        return round(self.iterations * self.length)

    @property
    def end(self) -> int:
        """Iteration at which the run ends."""
        return self.total if self.until is None else min(self.until, self.total)


class InitSpec(Spec):
    """Start from another run, at its end: from its weights, or where it stopped."""

    parent: str  # id of the parent recipe
    # Continue the parent's training at this iteration of one common schedule, with its optimiser's state;
    # null: its weights only, on a schedule of one's own.
    iteration: Positive | None = None


class PredictSpec(Spec):
    """Inference (CondInst's, unchanged in BoxInst and SIM)."""

    score: Fraction = 0.05
    nms: Fraction = 0.6
    pre_nms: Positive = 1000  # a level
    detections: Positive = 100  # an image
    masks: Literal["predicted", "boxes"] = "predicted"  # boxes: BoxInst Table 3's "box mask"


class Recipe(Spec):
    """A training from data to predictions. `Recipe.id` names its folder under results/<scale>/runs/."""

    method: Literal[
        "condinst", "boxinst", "sim", "boxcaseg", "baiseg", "mask_rcnn", "bbtp", "grabcut", "boxes"
    ]
    variant: Literal["paper", "released"] = "paper"
    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()
    sim: SimSpec | None = None
    boxcaseg: BoxCasegSpec | None = None
    baiseg: BaisegSpec | None = None
    schedule: ScheduleSpec = ScheduleSpec()
    init: InitSpec | None = None
    proxy: ProxySpec | None = None  # supervision 'proxy': masks that another run made
    predict: PredictSpec = PredictSpec()
    seed: Count = 0

    @model_validator(mode="after")
    def _own_section(self) -> Recipe:
        for name in ("sim", "boxcaseg", "baiseg"):
            if getattr(self, name) is not None and self.method != name:
                raise ValueError(f"section '{name}' is only for method '{name}', not '{self.method}'")
        return self

    @model_validator(mode="after")
    def _sim_is_whole(self) -> Recipe:
        if self.method == "sim":
            if self.sim is None:
                raise ValueError("method 'sim' needs the section 'sim'")
            if self.data.supervision != "boxes":
                raise ValueError(
                    f"method 'sim' makes its masks from boxes: data.supervision is '{self.data.supervision}'"
                )
        return self

    @model_validator(mode="after")
    def _edges_for_proposed(self) -> Recipe:
        if self.loss.full == "proposed" and self.loss.pairwise is None:
            raise ValueError("loss.full 'proposed' needs loss.pairwise: its neighbourhood defines the edges")
        return self

    def settled(self) -> Recipe:
        """This recipe with every null that `variant` governs filled in; a decided value always wins."""
        tree = self.model_dump(mode="json")
        defaults = VARIANT[self.variant]
        parts = [("model", tree["model"]), ("loss", tree["loss"]), ("pairwise", tree["loss"]["pairwise"])]
        for name, part in [*parts, ("sim", tree["sim"])]:
            own = (
                {"tau": 0.1}
                if name == "pairwise" and (self.method, self.variant) == ("sim", "released")
                else {}
            )
            for key, value in (
                defaults[name] | own
            ).items():  # SIM's code has BoxInst's paper's tau (B1, S11)
                if part is not None and part[key] is None:
                    part[key] = value
        return Recipe.model_validate_json(json.dumps(tree))

    def canonical(self) -> str:
        """Canonical JSON: settled, keys sorted, defaults stripped, floats in shortest form."""
        tree = self.settled().model_dump(mode="json", exclude_defaults=True)
        return json.dumps(_floats(tree), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """`<method>-<10 hex>`; equal recipes have equal ids whatever file or table they come from."""
        return f"{self.method}-{hashlib.sha256(self.canonical().encode()).hexdigest()[:10]}"


def _floats(value: Any) -> Any:
    """Integral floats become integers, so that 1, 1.0 and 1e0 hash alike."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
