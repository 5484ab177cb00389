"""The simulated accelerator: the CPU's values, what it counts, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from wsis.bench.simulated import DEVICE, OnDevice, cause, simulated, values_of
from wsis.data.structures import fetched, sent


@pytest.fixture
def counts():
    with simulated() as counts:
        yield counts


def there(*shape: int) -> Tensor:
    return torch.randn(*shape).to(DEVICE, non_blocking=True)


def kinds(counter) -> dict[str, int]:
    found: dict[str, int] = {}
    for (_, kind), number in counter.items():
        found[kind] = found.get(kind, 0) + number
    return found


def test_values_gradients_and_an_optimiser_s_step_are_the_cpu_s(counts):
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)) for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    nets[1].to(DEVICE)
    images = torch.randn(2, 3, 8, 8)
    for net in nets:
        optimizer = torch.optim.AdamW(net.parameters(), 0.1, foreach=False)
        x = net(images.to(net[0].weight.device)) + 1
        x[:, :2] *= 2  # in place, through a view
        x.square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.1)
        optimizer.step()
    for one, other in zip(nets[0].state_dict().values(), nets[1].state_dict().values(), strict=True):
        assert isinstance(other, OnDevice) and other.device == DEVICE
        assert torch.equal(one, values_of(other))
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one.grad, values_of(other.grad))


@pytest.mark.parametrize(
    ("wait", "kind"),
    [
        (lambda x: x.sum().item(), "item"),
        (lambda x: bool((x > 0).any()), "item"),
        (lambda x: x.tolist(), "tolist"),
        (lambda x: x.cpu(), "copy to the host"),
        (lambda x: (x > 0).nonzero(), "nonzero"),
        (lambda x: x[x > 0], "boolean index"),
        (lambda x: x.masked_select(x > 0), "masked_select"),
        (lambda x: x.unique(), "_unique2"),
        (lambda x: torch.bincount(x.abs().long(), minlength=9), "bincount"),
        (lambda x: torch.repeat_interleave(x.abs().long()), "repeat_interleave"),
    ],
)
def test_a_wait_is_counted(counts, wait, kind):
    wait(there(6))
    assert kinds(counts.waits) == {kind: 1} and not counts.host_data


@pytest.mark.parametrize(
    "make",
    [
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.ones(3).to(x.device),
        lambda x: x[torch.tensor([1, 2])],
    ],
)
def test_host_data_is_counted_apart(counts, make):
    assert isinstance(make(there(6)), OnDevice)
    assert sum(counts.host_data.values()) == 1 and not counts.waits


def test_what_needs_no_answer_is_no_wait(counts):
    x = there(6)
    index = sent(torch.tensor([0, 3]), DEVICE)
    torch.repeat_interleave(sent(torch.tensor([1, 2]), DEVICE), output_size=3)
    x[index].topk(1)
    torch.where(x > 0, x, 0.0).clamp(max=1) * torch.tensor(2.0)  # a number is of no device
    x.new_zeros(3) + torch.arange(3, device=DEVICE)
    assert not counts.waits and not counts.host_data


def test_several_copies_to_the_host_are_one_wait(counts):
    given = there(6), there(2)
    for copy, value in zip(fetched(*given), given, strict=True):
        assert copy.device.type == "cpu" and torch.equal(copy, values_of(value))
    assert kinds(counts.waits) == {"copy to the host": 1}


def test_views_launch_nothing(counts):
    x = there(4, 6)
    counts.clear()
    x[1:].flatten().view(3, 6).T.unsqueeze(0).expand(2, 6, 3)
    assert counts.operations == 0
    x.add_(1).sum()
    assert counts.operations == 2


def test_mixing_devices_fails(counts):
    x = there(3)
    for mixed in (
        lambda: x + torch.ones(3),
        lambda: torch.cat([x, torch.ones(1)]),
        lambda: torch.ones(3)[x > 0],
    ):
        with pytest.raises(RuntimeError, match="one device"):
            mixed()
    with pytest.raises(RuntimeError, match="numpy"):
        x.numpy()


def test_what_it_does_not_simulate_it_refuses(counts):
    with pytest.raises(NotImplementedError, match="mixed precision"):
        torch.autocast(DEVICE.type)
    with torch.autocast(DEVICE.type, enabled=False), torch.autocast("cpu", torch.bfloat16):
        pass
    with pytest.raises(RuntimeError):
        torch.Generator(DEVICE)
    with pytest.raises(RuntimeError, match="fused"):
        parameter = nn.Parameter(there(3))
        parameter.grad = there(3)
        torch.optim.AdamW([parameter], fused=True).step()


def test_the_cause_is_the_project_s_innermost_line(counts):
    from wsis.losses.dice import dice_loss

    dice_loss(there(2, 3).sigmoid(), torch.ones(2, 3).to(DEVICE)).tolist()
    assert cause().line == "", "tests are no part of the project"
    (found, _) = next(iter(counts.host_data))
    assert found.line == ""
    from wsis.data.totals import ALONE
    from wsis.losses.projection import grid_rectangles

    ALONE.share("", there(1))
    grid_rectangles(there(2, 4).abs(), 2, 8, 8)
    assert {cause.line.split(":")[0] for cause, _ in counts.host_data} == {"", "wsis/losses/projection.py"}
