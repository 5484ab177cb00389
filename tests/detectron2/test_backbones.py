"""Our Swin Transformer and deformable ResNet beside detectron2's on the same weights; skipped without it."""

from __future__ import annotations

import re

import pytest
import torch

from wsis.declare.specs.model import ModelSpec
from wsis.nn.pyramid import ResNetStages
from wsis.nn.swin import SwinStages, load
from wsis.nn.weights import torchvision_name

pytest.importorskip("detectron2", reason="detectron2 is not installed: make detectron2 SOURCE=path")


@torch.no_grad()
def test_swin_gives_detectron2s_features():
    """Sides are no multiples of a window's at any stage."""
    from detectron2.modeling import SwinTransformer

    torch.manual_seed(0)
    theirs = SwinTransformer(embed_dim=128, depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]).eval()
    for name, parameter in theirs.named_parameters():
        if parameter.dim() == 1 or "bias_table" in name:
            parameter += 0.3 * torch.randn_like(parameter)
    ours = SwinStages(ModelSpec(backbone="swin-b", weights="none")).eval()
    load(ours.features, theirs.state_dict(), "theirs")
    for number, norm in enumerate(ours.norms.values()):
        norm.load_state_dict(getattr(theirs, f"norm{number}").state_dict())
    x = torch.randn(1, 3, 256, 320)
    for expected, found in zip(theirs(x).values(), ours(x).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_deformable_resnet_gives_detectron2s_features(monkeypatch):
    """detectron2's build for the CPU has no modulated kernel: torchvision's stands in its place.

    So its block decides how offsets and weights are made and split, and where strides lie.
    """
    from detectron2.config import get_cfg
    from detectron2.layers import ShapeSpec, deform_conv
    from detectron2.modeling import build_resnet_backbone
    from torchvision.ops import deform_conv2d

    def kernel(x, offset, mask, weight, bias, stride, padding, dilation, groups, _):
        return deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask)

    monkeypatch.setattr(deform_conv, "modulated_deform_conv", kernel)
    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.RESNETS.DEPTH", 101, "MODEL.RESNETS.OUT_FEATURES", ["res2", "res3", "res4", "res5"],
        "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False, True, True, True],
        "MODEL.RESNETS.DEFORM_MODULATED", True, "MODEL.RESNETS.STRIDE_IN_1X1", False,
        "MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 0,
    ])  # fmt: skip
    torch.manual_seed(0)
    theirs = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    for name, parameter in theirs.named_parameters():
        if "offset" in name:
            parameter.normal_(0, 0.02)
        if name.endswith("conv3.norm.weight"):
            parameter.fill_(0.3)
    ours = ResNetStages(ModelSpec(backbone="resnet101-dcn", weights="none", norm="batch")).eval()
    ours.load_state_dict({_ours(name): value for name, value in theirs.state_dict().items()})
    x = torch.randn(1, 3, 96, 128)
    for expected, found in zip(theirs(x).values(), ours(x).values(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _ours(name: str) -> str:
    """'res3.0.conv2_offset.bias' -> 'c3.0.conv2.offset.bias', 'stem.conv1.weight' -> 'stem.0.weight'."""
    if match := re.fullmatch(r"res(\d)\.(\d+)\.conv2_offset\.(.+)", name):
        return "c{}.{}.conv2.offset.{}".format(*match.groups())
    name = re.sub(r"^(conv|bn)1\.", lambda m: f"stem.{0 if m[1] == 'conv' else 1}.", torchvision_name(name))
    return re.sub(r"^layer(\d)", lambda m: f"c{int(m[1]) + 1}", name)
