"""The network."""

from __future__ import annotations

from typing import Annotated, Literal

from wsis.declare.base import Positive, Several, Spec, one_of
from wsis.methods import heads
from wsis.nn.backbones import BACKBONES, NECKS


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
