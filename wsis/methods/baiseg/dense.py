"""BAISeg's backbones: one map of dense features (Secs. 3.2, 4.2; Table 6).

Shapes: B images, S x S input, s stride of the features, C' their channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods.baiseg.info import FEATURES
from wsis.nn.backbones import BACKBONES, build_backbone, giving
from wsis.nn.hrnet import join


def build_dense(model: ModelSpec, multi_scale: bool, stage_dim: int) -> DenseFeatures:
    """The network of `model.backbone` with `model.weights` (the tiny ones start from scratch).

    HRNets and their tiny counterparts have one output, ResNets are fused from all their stages: raises
    WsisError where `multi_scale` says otherwise, for another backbone, and where weights can't be had.
    """
    name, backbone = model.backbone, BACKBONES[model.backbone]
    fused = "fused" in backbone.build
    if not fused and "dense" not in backbone.build:
        there = ", ".join(giving(FEATURES))
        raise WsisError(f"model.backbone '{name}' has no dense features for BAISeg; use {there}")
    if multi_scale != fused:
        reason, key = ("has one output", "false") if multi_scale else ("needs its stages fused", "true")
        raise WsisError(f"model.backbone {name} {reason}: set baiseg.multi_scale to {key}")
    if not fused:
        net = build_backbone(model, "dense")
        return DenseFeatures(net, net.channels, backbone.stride, backbone.multiple)
    net = MultiScale(build_backbone(model, "fused"), backbone.widths, stage_dim)
    if name.startswith("tiny"):
        net = net.to(memory_format=torch.channels_last)  # faster on a CPU
    return DenseFeatures(net, len(backbone.widths) * stage_dim, backbone.stride, backbone.multiple)


class DenseFeatures(nn.Module):
    """A network with attributes `channels` (C'), `stride` (s), and `multiple`, which sides must be."""

    def __init__(self, net: nn.Module, channels: int, stride: int, multiple: int) -> None:
        super().__init__()
        self.net, self.channels, self.stride, self.multiple = net, channels, stride, multiple

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images, B x 3 x S x S float -> B x C' x S/s x S/s. WsisError for other sides."""
        h, w = images.shape[-2:]
        if h % self.multiple or w % self.multiple:
            raise WsisError(
                f"the backbone takes images whose sides are multiples of {self.multiple}, not {h} x {w}:"
                " change baiseg.crop"
            )
        return self.net(images)


class MultiScale(nn.Module):
    """The outputs of successive stages, each through a 1x1 convolution, upsampled to the first and joined.

    Table 6's starred backbones: its costs per channel show stem and four stages, without batch norm.
    """

    def __init__(self, stages: Sequence[nn.Module], widths: Sequence[int], dim: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(width, dim, 1) for width in widths)

    def forward(self, x: Tensor) -> Tensor:
        """B x 3 x S x S -> B x (stages dim) x S/s x S/s."""
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        return join(levels)
