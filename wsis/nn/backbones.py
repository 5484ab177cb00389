"""Backbones: what there is, known without torch. A new one is an entry here and the code that builds it.

pyramid: stages "c2", "c3", ... for a feature pyramid
patch:   one map of features of an object patch
dense:   one map of features of an image
fused:   stages, the stem first, which are fused into one map
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsis.errors import WsisError
from wsis.nn.layout import RESNET, SMALL, TINY, Layout

if TYPE_CHECKING:
    from wsis.declare.specs.model import ModelSpec

MEAN = (123.675, 116.28, 103.53)  # ImageNet, RGB, of 0 to 255
STD = (58.395, 57.12, 57.375)
MULTIPLE = 32  # pixels: images are padded to the coarsest stride of all backbones


@dataclass(frozen=True)
class Backbone:
    """One network.

    build:    kind of features -> "module:function" of a ModelSpec; empty: nothing builds it
    widths:   channels of its stages (the stem first) or branches, where they don't follow from the recipe
    stride:   input pixels a cell of the finest features
    multiple: what the sides of its input must be divisible by
    blocks:   residual blocks of each of the last stages, for tiny networks with stages
    beside:   keys of a recipe's `model` that fit it, where a user puts it in another one's place
    layout:   where a CondInst network on it has its levels
    mean, std: what its pixels (RGB, 0 to 255) are normalised with
    """

    build: dict[str, str] = field(default_factory=dict)
    widths: tuple[int, ...] = ()
    stride: int = 4
    multiple: int = MULTIPLE
    blocks: tuple[int, ...] = ()
    beside: dict[str, Any] = field(default_factory=dict)
    layout: Layout = RESNET
    mean: tuple[float, float, float] = MEAN
    std: tuple[float, float, float] = STD


_RESNET = Backbone(
    {"pyramid": "wsis.nn.pyramid:ResNetStages", "fused": "wsis.nn.pyramid:fused_stages"},
    widths=(64, 256, 512, 1024, 2048),
)
_HRNET = {"patch": "wsis.nn.hrnet:HRNetFeatures", "dense": "wsis.nn.hrnet:HRNetFeatures"}
_BESIDE = {"channels": 32, "tower_convs": 1, "mask_channels": 8, "head_channels": 8, "weights": "none"}
_TINY: dict[str, Any] = {"layout": TINY, "stride": 2, "multiple": 16, "beside": _BESIDE | {"norm": "batch"}}
_BRANCHES = {"dense": "wsis.nn.tiny:TinyBranches"}
_STAGES = {"fused": "wsis.nn.tiny:tiny_stages"}
BACKBONES = {
    "resnet50": _RESNET,
    "resnet101": _RESNET,
    "resnet101-dcn": replace(_RESNET, build={"pyramid": "wsis.nn.pyramid:ResNetStages"}),
    "swin-b": Backbone({"pyramid": "wsis.nn.swin:SwinStages"}, widths=(128, 256, 512, 1024)),
    "hrnet-w32": Backbone(_HRNET, (32, 64, 128, 256)),
    "hrnet-w48": Backbone(_HRNET, (48, 96, 192, 384)),
    "hrnetv2-w48": Backbone(_HRNET, (48, 96, 192, 384)),
    # For photographs without a card; its weights come from the Python Package Index.
    "efficientnet_lite0": Backbone(
        {"pyramid": "wsis.nn.efficientnet:EfficientNetStages"},
        widths=(16, 24, 40, 112, 320),
        beside={"channels": 64, "tower_convs": 2, "mask_channels": 8, "head_channels": 16},
        layout=SMALL,
        mean=(127.5, 127.5, 127.5),
        std=(127.5, 127.5, 127.5),
    ),
    # For synthetic images of about 96 pixels, from scratch.
    "tiny": Backbone({"pyramid": "wsis.nn.pyramid:TinyNet", "patch": "wsis.nn.tiny:TinyHRNet"}, **_TINY),
    "tiny-dcn": Backbone({"pyramid": "wsis.nn.pyramid:TinyNet"}, **_TINY),
    "tiny-swin": Backbone({"pyramid": "wsis.nn.swin:SwinStages"}, (16, 32, 64), **_TINY),
    "tiny-hrnet-w32": Backbone(_BRANCHES, (16, 24, 32, 48), **_TINY),
    "tiny-hrnet-w48": Backbone(_BRANCHES, (24, 32, 48, 64), **_TINY),
    "tiny-hrnetv2-w48": Backbone(_BRANCHES, (24, 32, 48, 64), **_TINY),
    "tiny-resnet50": Backbone(_STAGES, (16, 24, 32, 48, 64), blocks=(1, 1, 1), **_TINY),
    "tiny-resnet101": Backbone(_STAGES, (16, 24, 32, 48, 64), blocks=(1, 2, 3), **_TINY),
    "none": Backbone(),
    # Of published rows that don't run.
    "vgg16": Backbone(),
}
NECKS = ("fpn", "bifpn", "none")


def giving(kinds: Collection[str]) -> list[str]:
    """The backbones that give features of one of these kinds."""
    return [name for name, backbone in BACKBONES.items() if {*backbone.build} & {*kinds}]


def builders(kinds: Collection[str]) -> list[str]:
    """The modules that build backbones for features of these kinds, sorted."""
    places = (backbone.build.get(kind, "") for backbone in BACKBONES.values() for kind in kinds)
    return sorted({place.partition(":")[0] for place in places if place})


def build_backbone(model: ModelSpec, kind: str) -> Any:
    """The part of `model.backbone` that makes features of a kind: a network with `channels`, or stages.

    Raises WsisError where the backbone gives no such features.
    """
    place = BACKBONES[model.backbone].build.get(kind)
    if place is None:
        raise WsisError(
            f"model.backbone '{model.backbone}' gives no {kind} features; use {', '.join(giving([kind]))}"
        )
    module, name = place.split(":")
    return getattr(import_module(module), name)(model)
