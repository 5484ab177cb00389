"""The dict of backbones: what it names can be built, what is published and not built is known, no torch."""

import subprocess
import sys
from importlib import import_module

import pytest
import torch

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods import infos
from wsis.nn.backbones import BACKBONES, build_backbone, giving

KINDS = {"pyramid", "patch", "dense", "fused"}


def spec(backbone):
    return ModelSpec(backbone=backbone, weights="none", norm="batch", channels=16)


def test_every_builder_exists_and_every_kind_that_a_method_takes_is_given():
    for name, backbone in BACKBONES.items():
        assert backbone.build.keys() <= KINDS, name
        for place in backbone.build.values():
            module, builder = place.split(":")
            assert callable(getattr(import_module(module), builder))
    for info in infos().values():
        assert {*(info.features or ())} <= KINDS
        assert not info.features or giving(info.features)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name.startswith("tiny")])
def test_networks_have_the_stride_and_the_widths_that_the_dict_says(name):
    backbone = BACKBONES[name]
    x = torch.zeros(1, 3, 2 * backbone.multiple, 2 * backbone.multiple)
    for kind in backbone.build:
        net = build_backbone(spec(name), kind)
        if kind == "pyramid":
            assert {n: y.shape[1] for n, y in net(x).items()} == net.channels
        elif kind == "fused":
            for stage, width in zip(net, backbone.widths, strict=True):
                x = stage(x)
                assert x.shape[1] == width
        else:
            assert net(x).shape[1:] == (net.channels, *(side // backbone.stride for side in x.shape[2:]))


def test_a_backbone_without_such_features_is_refused():
    with pytest.raises(WsisError, match=r"'tiny-resnet50' gives no pyramid features; use resnet50"):
        build_backbone(spec("tiny-resnet50"), "pyramid")
    assert "vgg16" not in giving(KINDS)


def test_the_dict_is_known_without_torch():
    code = "import sys, wsis.nn.backbones; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
