"""BiFPN: its fusion written out for three levels, its size, and what becomes of levels."""

import pytest
import torch
import torch.nn.functional as F

from wsis.declare.specs.model import ModelSpec
from wsis.nn.bifpn import BiFPN
from wsis.nn.pyramid import Pyramid


def stages(widths, side=16):
    generator = torch.Generator().manual_seed(0)
    sides = [side // 2**i for i in range(len(widths))]
    return {
        f"c{3 + i}": torch.randn(2, width, side, side, generator=generator)
        for i, (width, side) in enumerate(zip(widths, sides, strict=True))
    }


def test_a_layer_is_efficientdets_written_out():
    """Tan et al., Sec. 3.3: P_td is made of P_in and what is above, P_out of P_in, P_td and what is below."""
    torch.manual_seed(1)
    net = BiFPN((6, 8, 10), 4, 3).eval()
    layer = net.layers[0]
    for node in layer.nodes:
        node.weights.data.uniform_(-0.5, 2)  # a weight below 0 counts as 0
    given = stages((6, 8, 10))
    p3, p4, p5 = (lateral(x) for lateral, x in zip(layer.laterals, given.values(), strict=True))

    def fused(number, *maps):
        node = layer.nodes[number]
        weights = node.weights.clamp(min=0)
        x = sum(w * m for w, m in zip(weights, maps, strict=True)) / (weights.sum() + 1e-4)
        return node.output(x * x.sigmoid())

    def up(x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)

    def down(x):
        return F.max_pool2d(x, 3, 2, 1)

    middle = fused(0, p4, up(p5))
    out3 = fused(1, p3, up(middle))
    out4 = fused(2, p4, middle, down(out3))
    out5 = fused(3, p5, down(out4))
    for found, expected in zip(layer(list(given.values())), (out3, out4, out5), strict=True):
        torch.testing.assert_close(found, expected)


def test_its_size_is_that_of_the_official_network():
    """11 977 554 parameters: AdelaiDet's BiFPN of its MS_R_101_BiFPN_3x, built from its source."""
    assert sum(p.numel() for p in BiFPN((512, 1024, 2048), 160, 5).parameters()) == 11_977_554


@pytest.mark.parametrize("sides", [(16, 16), (12, 20), (15, 9)])
def test_levels_halve_whatever_the_sides(sides):
    net = BiFPN((5, 7), 4, 4).eval()
    h, w = sides
    levels = net({"c3": torch.randn(1, 5, h, w), "c4": torch.randn(1, 7, -(-h // 2), -(-w // 2))})
    assert list(levels) == ["p3", "p4", "p5", "p6"]
    for level in levels.values():
        assert level.shape == (1, 4, h, w)
        h, w = -(-h // 2), -(-w // 2)


def test_every_parameter_gets_a_gradient():
    """In a pyramid of a small network; devices would wait for each other otherwise."""
    spec = ModelSpec(backbone="tiny-dcn", neck="bifpn", weights="none", norm="batch", channels=16)
    net = Pyramid(spec)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    features = net(images)
    assert {name: features[name].shape[1] for name in ("p3", "p4")} == {"p3": 16, "p4": 16}
    sum(level.square().sum() for level in features.values()).backward()
    assert all(p.grad is not None for p in net.parameters())
