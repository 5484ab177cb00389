"""The coarsest levels: convolutions of stride 2, with right gradients also of single rows and columns."""

import pytest
import torch
import torch.nn.functional as F

from wsis.nn.pyramid import CoarsestLevels


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (1, 3), (4, 3)])
def test_levels_and_gradients_are_those_of_plain_convolutions(size):
    torch.manual_seed(0)
    levels, p5 = CoarsestLevels(8, 8), torch.randn(3, 8, *size)
    (_, p6, p7), names = levels([p5], [p5], ["p5"])
    plain = F.conv2d(p5.double(), levels.p6.weight.double(), levels.p6.bias.double(), 2, 1)
    assert torch.allclose(p6.double(), plain, atol=1e-5) and names == ["p5", "p6", "p7"]
    plain = F.conv2d(F.relu(plain), levels.p7.weight.double(), levels.p7.bias.double(), 2, 1)
    assert torch.allclose(p7.double(), plain, atol=1e-5)


@pytest.mark.parametrize("size", [(2, 2), (1, 1), (2, 1), (1, 3)])
def test_gradients_in_bf16_are_those_in_float32(size):
    torch.manual_seed(1)
    levels, p5 = CoarsestLevels(64, 64), torch.randn(4, 64, *size)

    def gradients(half):
        levels.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            (_, p6, p7), _ = levels([p5], [p5], ["p5"])
        left = [torch.full((64, 64, 9), 3e38, dtype=kind) for kind in (torch.float32, torch.bfloat16)] * 6
        del left  # what a tensor that is never written would show
        (p6.float().sum() + p7.float().sum()).backward()
        return levels.p6.weight.grad.clone(), levels.p7.weight.grad.clone()

    for half, whole in zip(gradients(True), gradients(False), strict=True):
        assert (half - whole).abs().max() < 0.02 * whole.abs().max() + 0.1
