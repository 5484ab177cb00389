"""BoxCaseg's heads: parameters as counted in the released network, and what the weight transfer passes on."""

import torch
import torch.nn.functional as F

from wsis.methods.boxcaseg.heads import SegmentationHead, TransferredHead, released_initialisation


def size(module):
    return sum(p.numel() for p in module.parameters())


def test_parameters_head_by_head():
    with torch.device("meta"):
        head, transferred = SegmentationHead(720), TransferredHead(720)
    assert size(head) == 521_281
    assert size(transferred.first) == size(transferred.last) == 4_150_802
    assert size(transferred.norm) == 1_440
    assert size(transferred) == 2 * 4_150_802 + 1_440


def scene(seed=0):
    torch.manual_seed(seed)
    weak, transferred = SegmentationHead(6), TransferredHead(6)
    with torch.no_grad():
        for part in (transferred.first, transferred.last):
            part.k.fill_(1.5)
            part.c.fill_(-0.25)
    return weak, transferred, torch.randn(3, 6, 4, 5)


def test_transferred_weights_row_by_row():
    weak, transferred, _ = scene()
    for source, transfer in ((weak.first, transferred.first), (weak.last, transferred.last)):
        weight, bias = transfer(source)
        assert weight.shape == source.weight.shape
        one, _, two = transfer.rows
        for row in range(len(weight)):
            hidden = one.weight @ source.weight[row, :, 0, 0] + one.bias
            hidden = torch.where(hidden > 0, hidden, 0.1 * hidden)
            torch.testing.assert_close(weight[row, :, 0, 0], two.weight @ hidden + two.bias)
            torch.testing.assert_close(bias[row], 1.5 * source.bias[row] - 0.25)


def test_the_transferred_head_is_a_head_with_those_weights_and_its_own_norm():
    weak, transferred, x = scene()
    same = SegmentationHead(6)
    with torch.no_grad():
        for conv, transfer, source in (
            (same.first, transferred.first, weak.first),
            (same.last, transferred.last, weak.last),
        ):
            for parameter, value in zip((conv.weight, conv.bias), transfer(source), strict=True):
                parameter.copy_(value)
        same.norm.load_state_dict(transferred.norm.state_dict())
    for training in (True, False):
        transferred.train(training), same.train(training)
        torch.testing.assert_close(transferred(x, weak), same(x))
    assert weak.norm.num_batches_tracked == 0


def test_no_gradient_reaches_the_weak_head():
    weak, transferred, x = scene()
    x.requires_grad_()
    transferred(x, weak).square().sum().backward()
    assert all(p.grad is None for p in weak.parameters())
    assert all(
        p.grad is not None and p.grad.abs().sum() > 0 for p in (transferred.last.k, transferred.last.c)
    )
    assert all(p.grad is not None for p in transferred.parameters())
    assert x.grad.abs().sum() > 0


def test_it_follows_the_weak_head():
    weak, transferred, x = scene()
    before = transferred(x, weak)
    with torch.no_grad():
        weak.last.bias.add_(1)
    torch.testing.assert_close(transferred(x, weak), before + 1.5)


def test_transfer_stays_in_float32_under_autocast():
    weak, transferred, x = scene()
    with torch.autocast("cpu", torch.bfloat16):
        weight, bias = transferred.first(weak.first)
        assert weight.dtype == bias.dtype == torch.float32
        assert transferred(x, weak).dtype == torch.bfloat16


def test_head_by_hand():
    torch.manual_seed(1)
    head, x = SegmentationHead(4).eval(), torch.randn(2, 4, 3, 3)
    hidden = F.relu(head.norm(torch.einsum("oi,bihw->bohw", head.first.weight[:, :, 0, 0], x)
                              + head.first.bias[:, None, None]))  # fmt: skip
    expected = torch.einsum("i,bihw->bhw", head.last.weight[0, :, 0, 0], hidden) + head.last.bias
    torch.testing.assert_close(head(x), expected)


def test_released_initialisation():
    torch.manual_seed(2)
    weak, transferred = SegmentationHead(128), TransferredHead(128)
    bias = weak.first.bias.clone()
    released_initialisation(weak)
    released_initialisation(transferred)
    assert torch.equal(weak.first.bias, bias)
    assert abs(weak.first.weight.std().item() - 1e-3) < 1e-4
    for layer in (transferred.first.rows[0], transferred.last.rows[2]):
        assert abs(layer.weight.std().item() - 1e-2) < 1e-3
        assert abs(layer.bias.std().item() - 1e-2) < 4e-3
    assert (transferred.first.k.item(), transferred.first.c.item()) == (1, 0)
