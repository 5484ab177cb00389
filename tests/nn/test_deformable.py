"""Deformable convolution: sampled by hand, in a ResNet's place, its stride with its offsets'."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from wsis.declare.specs.model import ModelSpec
from wsis.nn.deformable import Deformable, deform
from wsis.nn.pyramid import ResNetStages


def by_hand(net, x):
    """Eq. 1 of Zhu et al. (2019): y(p) = sum over k of w_k x(p + p_k + offset_k) m_k; x is 0 outside."""
    offsets, weights = net.offset(x).split([18, 9], 1)
    weights, stride = weights.sigmoid(), net.stride[0]
    height, width = x.shape[2:]
    rows = torch.arange(offsets.shape[2])[:, None] * stride - 1
    columns = torch.arange(offsets.shape[3])[None] * stride - 1
    total = 0
    for k in range(9):
        y, at_x = rows + k // 3 + offsets[:, 2 * k], columns + k % 3 + offsets[:, 2 * k + 1]
        places = torch.stack([2 * at_x / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
        seen = F.grid_sample(x, places, padding_mode="zeros", align_corners=True) * weights[:, k : k + 1]
        total = total + torch.einsum("bchw,oc->bohw", seen, net.weight[:, :, k // 3, k % 3])
    return total


@pytest.mark.parametrize("stride", [1, 2])
def test_it_samples_where_its_offsets_say(stride):
    torch.manual_seed(0)
    net = Deformable(nn.Conv2d(4, 5, 3, stride, 1, bias=False))
    nn.init.normal_(net.offset.weight, std=0.2)
    nn.init.normal_(net.offset.bias, std=0.7)
    x = torch.randn(2, 4, 9, 11)
    torch.testing.assert_close(net(x), by_hand(net, x), rtol=1e-4, atol=1e-5)


def test_it_begins_as_half_of_the_convolution_that_it_replaces():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 5, 3, 2, 1, bias=False)
    x = torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(Deformable(conv)(x), conv(x) / 2)


def test_its_stride_moves_with_its_offsets():
    """First weights may put a stage's stride elsewhere (`wsis.nn.weights`, `wsis.methods.weights`)."""
    net = Deformable(nn.Conv2d(4, 4, 3, 2, 1, bias=False))
    net.stride = (1, 1)
    assert net.offset.stride == (1, 1) and net(torch.zeros(1, 4, 8, 8)).shape[2:] == (8, 8)


def test_every_block_of_a_stage_is_deformed():
    block = nn.Module()
    block.conv2 = nn.Conv2d(2, 2, 3, padding=1, bias=False)
    stage = nn.Sequential(block)
    deform(stage)
    assert isinstance(stage[0].conv2, Deformable)


def test_the_last_three_stages_of_a_resnet_are_deformable():
    """44 429 418 parameters: detectron2's ResNet-101 with DEFORM_ON_PER_STAGE of stages 3 to 5, modulated."""
    with torch.device("meta"):
        net = ResNetStages(ModelSpec(backbone="resnet101-dcn", weights="none", norm="batch"))
    assert sum(p.numel() for p in net.parameters()) == 44_429_418
    blocks = {
        name: [isinstance(block.conv2, Deformable) for block in getattr(net, name)] for name in net.channels
    }
    assert {name: set(kinds) for name, kinds in blocks.items()} == {
        "c2": {False}, "c3": {True}, "c4": {True}, "c5": {True},
    }  # fmt: skip
