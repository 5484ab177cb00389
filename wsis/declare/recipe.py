"""A recipe: everything that determines a training, validated and content-addressed.

Every key carries the paper's symbol or section. `variant` chooses between the paper's equations and
what the released code does; the keys it governs are null until `Recipe.settled` fills them, so that a
recipe file shows only what somebody decided.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache, reduce
from typing import Annotated, Any, Literal

from pydantic import Field, create_model, field_validator, model_validator

from wsis.declare.base import Count, Fraction, Positive, Several, Spec, Weight, one_of
from wsis.declare.variant import governed
from wsis.methods import early_infos, heads, info_of, infos
from wsis.nn.backbones import BACKBONES, NECKS

# Part of paths below a root, which it must not leave.
SplitName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]


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
    # Which instances carry masks in training: none, all, or those of one class group (BoxInst, Sec. 3.6).
    supervision: Literal[
        "boxes", "masks", "masks-voc", "masks-nonvoc", "semantic", "boxes+salient", "proxy"
    ] = "boxes"  # proxy: masks that another run made (`Recipe.proxy`)
    train_images: Positive | None = None  # keep the first N images only; null: all
    eval_images: Positive | None = None
    classes: Literal["all", "one"] = "all"  # one: every object is an 'object', in training and evaluation
    # Digest of a user's training annotations and classes (`wsis fit`): other data are another recipe.
    annotations: str | None = None
    short_side: tuple[Positive, ...] = (640, 672, 704, 736, 768, 800)  # pixels, one drawn an image
    eval_short_side: Positive = 800
    max_side: Positive = 1333
    augment: Literal["flip", "dihedral", "none"] = "flip"
    shapes: ShapesSpec = ShapesSpec()


class ModelSpec(Spec):
    """The network: backbone, neck, FCOS detector and dynamic mask head (CondInst)."""

    backbone: Annotated[str, one_of("backbone", lambda: BACKBONES)] = "resnet50"
    neck: Annotated[str, one_of("neck", lambda: NECKS)] = "fpn"
    head: Annotated[str, one_of("head", heads)] = "condinst"
    # Whose network it is, where a method has several; auto is resolved when planning (declare/provider.py).
    provider: Literal["auto", "detectron2", "torchvision"] = "torchvision"
    weights: str = "imagenet"  # "imagenet" (torchvision), "none", or the path of a local file
    norm: Literal["frozen", "batch"] = "frozen"  # the backbone's batch norm
    frozen_backbone: bool = False  # the whole backbone keeps its first weights; its features may be kept
    channels: Several = 256  # FPN and detector towers
    tower_convs: Positive = 4
    mask_channels: Positive | None = None  # C_m, mask branch output
    head_channels: Positive | None = None  # h, hidden channels of the dynamic head (Sec. 3.1: 8 -> 16)
    # What the training changes: everything, the base alone (a detector or features, which masks use),
    # or the masks' part alone on a frozen base, which rows with one parent then share.
    trained: Literal["all", "base", "masks"] = "all"
    # What no paper mentions: how maps are enlarged and pooled, where anchors and pasted masks lie, when boxes
    # are clipped, where objects are sampled (C2 to C5, C8); of Mask R-CNN the beta of its box losses, rates
    # of biases and shared proposals (C6). official: as in the paper's code, AdelaiDet, detectron2, or
    # maskrcnn-benchmark where that is declared. Null: the variant's, official for released; left out of ids.
    details: Literal["own", "official", "maskrcnn-benchmark"] | None = None


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


class ScheduleSpec(Spec):
    """Optimiser and schedule. `iterations` are those of a 1x schedule; `length` multiplies them."""

    optimizer: Literal["sgd", "adamw", "adam"] = "sgd"
    lr: Annotated[float, Field(gt=0, le=1000)] = 0.01
    backbone_factor: Annotated[float, Field(gt=0, le=1000)] = 1.0  # of `lr`, for the backbone
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)  # of AdamW and Adam
    weight_decay: Weight = 1e-4
    batch: Positive = 16  # images a step, over all devices
    devices: Positive = 8
    iterations: Count = 90000
    length: Annotated[float, Field(gt=0, le=1000)] = 1.0  # 1: "1x", 3: "3x", ...
    milestones: tuple[Positive, ...] = (60000, 80000)  # iterations at which lr is divided by ten
    decay: Literal["step", "poly", "cosine"] = "step"
    power: Annotated[float, Field(gt=0, le=100)] = 0.9  # of poly
    warmup: Count = 1000  # iterations of linear lr warm-up
    warmup_factor: Fraction = 0.001  # from lr * this
    # Batch norm over the images of all devices; null: as the method's code has it (`Info.sync_norm`).
    sync_norm: bool | None = None
    clip: Weight = 0.0  # gradient norm; 0: no clipping
    # auto: bf16 where the device computes it natively, else float32
    precision: Literal["32", "bf16", "16", "auto"] = "32"
    compile: bool = False  # backbone and towers, by torch.compile; numbers differ by rounding
    until: Positive | None = None  # stop here: a warm-up, which other recipes continue
    validate_every: Positive | None = None  # iterations between validations; the best weights are the run's

    @field_validator("precision", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """32 and 16 as well: on a command line their quotes are lost."""
        return str(value) if isinstance(value, int) else value

    def usable_devices(self, offered: int) -> int:
        """Of `offered` devices, how many a training uses: at most its own, and a divisor of its batch."""
        most = max(1, min(offered, self.devices))
        return next(number for number in range(most, 0, -1) if self.batch % number == 0)

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
    # Of the detected boxes: the network's, the box itself (BoxInst Table 3's "box mask"), or GrabCut's in it.
    masks: Literal["predicted", "boxes", "grabcut"] = "predicted"


class ProxySpec(Spec):
    """Proxy masks as a Mask R-CNN's training masks: whose they are, and how they are merged and dropped."""

    parent: str  # id of the recipe whose masks they are
    instances: bool = False  # masks with classes and boxes of their own (BAISeg), not for given boxes
    merge: bool = True
    order: Literal["box", "mask", "random", "larger"] = "box"
    drop: Fraction | None = 0.95
    agreement: Literal["plus_one", "exact"] = "plus_one"


class _Learning(Spec):
    """What learns which function of which data."""

    method: Annotated[str, one_of("method", infos)]
    variant: Literal["paper", "released"] = "paper"
    data: DataSpec = DataSpec()
    model: ModelSpec = ModelSpec()
    loss: LossSpec = LossSpec()


SECTIONS = {name: info.section for name, info in early_infos().items() if info.section is not None}
_FIELDS: dict[str, Any] = {name: (spec | None, None) for name, spec in SECTIONS.items()}
_WithSections: Any = create_model("_WithSections", __base__=_Learning, **_FIELDS)


class Recipe(_WithSections):
    """A training from data to predictions. `Recipe.id` names its folder under results/<scale>/runs/.

    A method that has a section of its own (`Info.section`) has it under its name.
    """

    schedule: ScheduleSpec = ScheduleSpec()
    init: InitSpec | None = None
    proxy: ProxySpec | None = None  # supervision 'proxy': masks that another run made
    predict: PredictSpec = PredictSpec()
    seed: Count = 0

    @property
    def section(self) -> Spec | None:
        """The section of the recipe's own method; None where the method has none."""
        return getattr(self, self.method) if self.method in SECTIONS else None

    @property
    def normalise(self) -> Literal["batch", "device"]:
        """`loss.normalise`, or what the variant does: the equations' means are over the batch."""
        return self.loss.normalise or ("batch" if self.variant == "paper" else "device")

    @property
    def sync_norm(self) -> bool:
        """`schedule.sync_norm`, or what the method's code does."""
        asked = self.schedule.sync_norm
        return info_of(self.method).sync_norm if asked is None else asked

    @model_validator(mode="after")
    def _own_section(self) -> Recipe:
        for name in SECTIONS:
            if getattr(self, name) is not None and self.method != name:
                raise ValueError(f"section '{name}' is only for method '{name}', not '{self.method}'")
        if self.method in SECTIONS and self.section is None:
            raise ValueError(f"method '{self.method}' needs the section '{self.method}'")
        return self

    @model_validator(mode="after")
    def _method_can(self) -> Recipe:
        info, head = info_of(self.method), self.model.head
        if not info.has_head(head) and head != ModelSpec().head:  # the default stands for none that is named
            raise ValueError(f"method '{self.method}' has no head '{head}' (it has: {', '.join(info.heads)})")
        kinds = info.learns_from(head)
        if kinds and self.data.supervision not in kinds:
            method = f"'{self.method}'" + (f" with head '{head}'" if head in info.networks else "")
            raise ValueError(
                f"method {method} learns from {' or '.join(kinds)}: data.supervision is"
                f" '{self.data.supervision}'"
            )
        if self.model.details not in (None, *info.details):
            raise ValueError(
                f"method '{self.method}' has the details {' or '.join(info.details)}: model.details is"
                f" '{self.model.details}'"
            )
        if self.model.trained == "masks" and self.init is None:
            raise ValueError("model.trained 'masks' needs a trained base to start from (init.parent)")
        trained = self.model.trained
        if (trained == "base" and not info.base) or (trained != "all" and head in info.networks):
            method = f"'{self.method}'" + (f" with head '{head}'" if info.base else "")
            raise ValueError(f"model.trained '{trained}': method {method} has no base that is trained alone")
        return self

    @model_validator(mode="after")
    def _one_class(self) -> Recipe:
        if self.data.classes == "one" and self.data.supervision not in ("boxes", "masks", "proxy"):
            raise ValueError(f"data.classes 'one': supervision '{self.data.supervision}' tells classes apart")
        return self

    @model_validator(mode="after")
    def _edges_for_proposed(self) -> Recipe:
        if self.loss.full == "proposed" and self.loss.pairwise is None:
            raise ValueError("loss.full 'proposed' needs loss.pairwise: its neighbourhood defines the edges")
        return self

    def settled(self) -> Recipe:
        """This recipe with every null that `variant` governs filled in; a decided value always wins."""
        return _settled(self)

    def canonical(self) -> str:
        """Canonical JSON: settled, keys sorted, defaults stripped, floats in shortest form."""
        tree = self.settled().model_dump(mode="json", exclude_defaults=True)
        if self.settled().model.details == _governed(self)["model.details"]:
            del tree["model"]["details"]  # ids are older than the key
        return json.dumps(_floats(tree), sort_keys=True, separators=(",", ":"))

    @property
    def id(self) -> str:
        """`<method>-<10 hex>`; equal recipes have equal ids whatever file or table they come from."""
        return _id(self)


# A plan asks hundreds of recipes for their ids thousands of times. They are remembered by value: a recipe is
# frozen, and a changed copy of it is another key.


@cache
def _settled(recipe: Recipe) -> Recipe:
    tree = recipe.model_dump(mode="json")
    filled = False
    for dotted, value in _governed(recipe).items():
        *path, key = dotted.split(".")
        part = reduce(lambda part, name: part and part[name], path, tree)
        if part is not None and part[key] is None:
            part[key], filled = value, True
    return Recipe.model_validate_json(json.dumps(tree)) if filled else recipe


def _governed(recipe: Recipe) -> dict[str, Any]:
    return governed(recipe.method, recipe.variant, recipe.model.backbone, recipe.model.head)


@cache
def _id(recipe: Recipe) -> str:
    return f"{recipe.method}-{hashlib.sha256(recipe.canonical().encode()).hexdigest()[:10]}"


def _floats(value: Any) -> Any:
    """Integral floats become integers, so that 1, 1.0 and 1e0 hash alike."""
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
