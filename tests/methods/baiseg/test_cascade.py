"""The boundary module: Eqs. 2 to 5 against loops over cells, layout, sizes, gradients."""

import math

import pytest
import torch
from torch import nn

from wsis.methods.baiseg.cascade import BoundaryModule, CascadeFusion, DeepMutualAttention, MutualAttention
from wsis.methods.baiseg.semantic_head import Projection, SemanticHead
from wsis.methods.baiseg.spec import BaisegSpec


def size(module):
    return sum(p.numel() for p in module.parameters())


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def slow_attention(unit, f):
    """Eqs. 2 to 5 as printed, one number at a time; f is d x H x W (lists)."""
    down, up = unit.mlp[0].weight.tolist(), unit.mlp[2].weight.tolist()
    kernel, bias = unit.spatial.weight[0].tolist(), unit.spatial.bias.item()
    identity, shift = unit.identity.weight[:, :, 0, 0].tolist(), unit.identity.bias.tolist()
    beta = unit.beta.item()
    d, h, w = len(f), len(f[0]), len(f[0][0])

    def mlp(v):
        hidden = [max(0.0, sum(a * b for a, b in zip(row, v, strict=True))) for row in down]
        return [sum(a * b for a, b in zip(row, hidden, strict=True)) for row in up]

    cells = [[f[c][y][x] for y in range(h) for x in range(w)] for c in range(d)]
    mean, top = mlp([sum(v) / len(v) for v in cells]), mlp([max(v) for v in cells])
    channel = [sigmoid(a + b) for a, b in zip(mean, top, strict=True)]
    result = [[[0.0] * w for _ in range(h)] for _ in range(d)]
    pooled = [
        [[sum(f[c][y][x] for c in range(d)) / d for x in range(w)] for y in range(h)],
        [[max(f[c][y][x] for c in range(d)) for x in range(w)] for y in range(h)],
    ]
    for y in range(h):
        for x in range(w):
            total = bias
            for m in range(2):
                for i in range(7):
                    for j in range(7):
                        v, u = y + i - 3, x + j - 3
                        if 0 <= v < h and 0 <= u < w:
                            total += kernel[m][i][j] * pooled[m][v][u]
            spatial = sigmoid(total)
            for c in range(d):
                same = shift[c] + sum(identity[c][k] * f[k][y][x] for k in range(d))
                result[c][y][x] = same + (f[c][y][x] * channel[c] + f[c][y][x] * spatial) * beta
    return result


@pytest.mark.parametrize("beta", [0.0, 0.7, -1.3])
def test_mutual_attention_as_the_paper_writes_it(beta):
    torch.manual_seed(0)
    unit = MutualAttention(8, reduction=4).double()
    nn.init.constant_(unit.beta, beta)
    f = torch.randn(2, 8, 9, 6, dtype=torch.float64)
    expected = torch.tensor([slow_attention(unit, image.tolist()) for image in f], dtype=torch.float64)
    torch.testing.assert_close(unit(f), expected)


def test_mutual_attention_in_any_memory_format():
    torch.manual_seed(0)
    unit = MutualAttention(16)
    nn.init.constant_(unit.beta, 0.5)
    x = torch.randn(2, 16, 9, 6, requires_grad=True)
    z = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(2, 16, 9, 6)
    for y in (x, z):
        (unit(y) * weight).sum().backward()
    torch.testing.assert_close(unit(x), unit(z), check_stride=False)
    torch.testing.assert_close(x.grad, z.grad, check_stride=False)


def test_mutual_attention_starts_as_its_identity_path():
    unit = MutualAttention(16)
    x = torch.randn(1, 16, 5, 5)
    assert unit.beta.shape == () and unit.beta == 0
    torch.testing.assert_close(unit(x), unit.identity(x))
    assert {name for name, p in unit.mlp.named_parameters()} == {"0.weight", "2.weight"}  # no biases


def test_a_module_fuses_global_and_local_features():
    """Layout: 3x3, 3x3, attention above, 1x1 below, their sum through a 3x3 and a 1x1."""
    torch.manual_seed(0)
    module = CascadeFusion(6, 8, reduction=4).eval()
    assert isinstance(module.upper, DeepMutualAttention)
    kernels = sorted(m.kernel_size[0] for m in module.modules() if isinstance(m, nn.Conv2d))
    assert kernels == [1, 1, 1, 3, 3, 3, 7]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in module.modules()) == 3
    a, b = torch.randn(2, 1, 6, 5, 7)
    fused = module.upper(a) + module.lower(b)
    upper, lower = module(a, b)
    torch.testing.assert_close(upper, module.fuse_global(fused))
    torch.testing.assert_close(lower, module.fuse_local(fused))
    assert upper.min() == 0 and lower.min() < 0  # only the global output is rectified


def test_cascades_hand_on_both_features():
    torch.manual_seed(0)
    module = BoundaryModule(5, BaisegSpec(dim=8, cascades=3, reduction=4)).eval()
    x = torch.randn(2, 5, 6, 7)
    first, second, third = module.cascade
    upper, lower = third(*second(*first(x, x)))
    logits, features = module(x)
    torch.testing.assert_close(features, upper + lower)
    torch.testing.assert_close(logits, module.last(upper + lower))
    assert logits.shape == (2, 1, 6, 7)


@pytest.mark.parametrize("cascades", [1, 2, 4])
@pytest.mark.parametrize("dim", [16, 32])
def test_sizes_by_the_published_costs(cascades, dim):
    """Parameters: (30 R - 10) d^2 + 10 C' d + R (d^2 / 8 + 9 d + 99 + 1), and d + 1 at the end."""
    module = BoundaryModule(24, BaisegSpec(dim=dim, cascades=cascades))
    each = dim * dim // 8 + 9 * dim + 99 + 1  # perceptron, batch norm and biases, 7x7, beta
    assert size(module) == (30 * cascades - 10) * dim**2 + 240 * dim + cascades * each + dim + 1
    logits, features = module(torch.randn(2, 24, 8, 12))
    assert logits.shape == (2, 1, 8, 12)
    assert features.shape == (2, dim, 8, 12)


def test_without_attention_and_without_cascade():
    x = torch.randn(2, 24, 8, 12)
    plain = BoundaryModule(24, BaisegSpec(dim=16, cascades=4, cfm=False))
    convs = [tuple(m.weight.shape) for m in plain.modules() if isinstance(m, nn.Conv2d)]
    assert convs == [(16, 24, 3, 3), (1, 16, 1, 1)]
    without = BoundaryModule(24, BaisegSpec(dim=16, cascades=4, dma=False))
    assert not any(isinstance(m, MutualAttention) for m in without.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in without.modules()) == 8
    for module in (plain, without):
        logits, features = module(x)
        assert (logits.shape, features.shape) == ((2, 1, 8, 12), (2, 16, 8, 12))


def idle(module):
    """Parameters that a gradient doesn't reach. A loss of random weights: no sum is lost in batch norm."""
    torch.manual_seed(1)
    x = torch.randn(4, 24, 12, 12)
    logits, features = module(x)
    loss = sum((y * torch.randn_like(y)).sum() for y in (logits, features))
    module.zero_grad()
    loss.backward()
    return {name for name, p in module.named_parameters() if p.grad is None or p.grad.abs().max() == 0}


@pytest.mark.parametrize("options", [{}, {"dma": False}, {"cfm": False}], ids=["full", "cfm", "none"])
def test_gradients_reach_every_parameter(options):
    """At beta = 0 what beta multiplies gets none, beta itself does: the first step opens the attention."""
    torch.manual_seed(0)
    module = BoundaryModule(24, BaisegSpec(dim=16, cascades=2, reduction=4, **options))
    closed = {n for n, _ in module.named_parameters() if ".mlp." in n or ".spatial." in n}
    assert idle(module) == closed
    assert bool(closed) == (not options)
    torch.optim.SGD(module.parameters(), lr=0.01).step()
    assert idle(module) == set()


def test_half_precision_stays_near():
    torch.manual_seed(0)
    module = BoundaryModule(24, BaisegSpec(dim=16, cascades=4, reduction=4))
    for unit in module.modules():
        if isinstance(unit, MutualAttention):
            nn.init.constant_(unit.beta, 0.5)
    x = torch.randn(4, 24, 16, 16)
    exact, _ = module(x)
    with torch.autocast("cpu", torch.bfloat16):
        half, _ = module(x)
    assert (half - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.02


def test_heads():
    head = SemanticHead(48, 20)
    assert size(head) == 9 * 48 * 256 + 256 + 256 * 21 + 21
    assert head(torch.randn(2, 48, 5, 6)).shape == (2, 21, 5, 6)
    assert SemanticHead(8, 3, width=32)(torch.randn(1, 8, 5, 6)).shape == (1, 4, 5, 6)
    assert size(Projection(128)) == 129 * 256
    assert Projection(16, 32)(torch.randn(1, 16, 5, 6)).shape == (1, 32, 5, 6)
