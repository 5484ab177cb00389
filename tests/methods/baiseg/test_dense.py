"""BAISeg's backbones: sizes as published, what a gradient reaches, fusion of the stages, refusals."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsis.declare.specs.model import ModelSpec
from wsis.errors import WsisError
from wsis.methods.baiseg.dense import MultiScale, build_dense
from wsis.nn.backbones import giving

TINY_HRNETS = [name for name in giving(["dense"]) if name.startswith("tiny")]
TINY = [(name, name not in TINY_HRNETS) for name in giving(["dense", "fused"]) if name.startswith("tiny")]
FULL = [  # Table 6's backbones; parameters of the backbone without and with its 1x1 convolutions at 32
    ("hrnet-w48", False, 48, 63.595),
    ("hrnet-w32", False, 32, 28.536),
    ("hrnetv2-w48", False, 720, 65.325),
    ("resnet50", True, 160, 23.508 + 0.125),
    ("resnet101", True, 160, 42.500 + 0.125),
]


def spec(backbone):
    return ModelSpec(backbone=backbone, weights="none", neck="none", head="baiseg", norm="batch")


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "multi_scale", "channels", "millions"), FULL)
def test_full_size(name, multi_scale, channels, millions):
    with torch.device("meta"):
        net = build_dense(spec(name), multi_scale, 32)
    assert (net.channels, net.stride) == (channels, 4)
    assert size(net) / 1e6 == pytest.approx(millions, abs=6e-4)
    found = net(torch.zeros(2, 3, 64, 96, device="meta"))
    assert found.shape == (2, channels, 16, 24)
    found.sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(("name", "multi_scale"), TINY)
def test_tiny(name, multi_scale):
    torch.manual_seed(0)
    net = build_dense(spec(name), multi_scale, 8)
    assert net.stride == 2
    x = torch.randn(2, 3, 48, 96, requires_grad=True)
    found = net(x)
    assert found.shape == (2, net.channels, 24, 48)
    (found * torch.randn_like(found)).sum().backward()
    assert [key for key, p in net.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []
    assert size(net) < 0.5e6


@pytest.mark.parametrize(("name", "multi_scale"), TINY)
def test_tiny_sees_beyond_an_object(name, multi_scale):
    """A cell's features depend on pixels 24 away: coarse branches have seen them."""
    torch.manual_seed(0)
    net = build_dense(spec(name), multi_scale, 8).eval()
    x = torch.randn(1, 3, 96, 96, requires_grad=True)
    net(x)[0, :, 24, 24].square().sum().backward()
    assert x.grad[0, :, 48, 72:].abs().sum() > 0


def test_tiny_channels():
    channels = {name: build_dense(spec(name), False, 8).channels for name in TINY_HRNETS}
    assert channels == {"tiny-hrnet-w48": 24, "tiny-hrnet-w32": 16, "tiny-hrnetv2-w48": 168}
    assert [build_dense(spec("tiny-resnet50"), True, dim).channels for dim in (4, 8, 16)] == [20, 40, 80]


def test_the_deeper_and_the_wider_nets_are_larger():
    sizes = {name: size(build_dense(spec(name), multi_scale, 8)) for name, multi_scale in TINY}
    assert sizes["tiny-resnet101"] > 1.2 * sizes["tiny-resnet50"]
    assert sizes["tiny-hrnet-w48"] > sizes["tiny-hrnet-w32"]


def test_stages_are_reduced_upsampled_and_joined():
    torch.manual_seed(0)
    stages = [nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 2, 2), nn.Conv2d(5, 6, 2, 2)]
    net = MultiScale(stages, (4, 5, 6), 2)
    x = torch.randn(1, 3, 8, 12)
    first = stages[0](x)
    second = stages[1](first)
    third = stages[2](second)
    found = net(x)
    assert found.shape == (1, 6, 8, 12)
    torch.testing.assert_close(found[:, :2], net.laterals[0](first))
    for k, (level, factor) in enumerate([(second, 2), (third, 4)], 1):
        wide = F.interpolate(
            net.laterals[k](level), scale_factor=factor, mode="bilinear", align_corners=False
        )
        torch.testing.assert_close(found[:, 2 * k : 2 * k + 2], wide)


def test_refused():
    with pytest.raises(WsisError, match=r"'swin-b' has no dense features for BAISeg; use resnet50"):
        build_dense(spec("swin-b"), False, 32)
    with pytest.raises(WsisError, match=r"resnet50 needs its stages fused: set baiseg\.multi_scale to true"):
        build_dense(spec("resnet50"), False, 32)
    with pytest.raises(WsisError, match=r"tiny-hrnet-w48 has one output: set baiseg\.multi_scale to false"):
        build_dense(spec("tiny-hrnet-w48"), True, 32)
    with pytest.raises(WsisError, match=r"multiples of 16, not 96 x 100: change baiseg\.crop"):
        build_dense(spec("tiny-hrnet-w48"), False, 8)(torch.zeros(1, 3, 96, 100))
    net = build_dense(spec("tiny-hrnet-w48"), False, 8)
    assert net.multiple == 16
