"""Batch norm over processes against nn.BatchNorm2d on all samples; on a card against torch's own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.engine.toy import toy_recipe
from wsis.engine.launch import launch, make_fabric, set_threads
from wsis.errors import WsisError
from wsis.nn.sync_norm import SyncNorm, synchronise, synchronised

ROUNDS = 2


def layer() -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(3, momentum=0.3).double()
    nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(1))
    return norm


def samples(count: int) -> Tensor:
    """Far from zero, where a sum of squares would cancel digits."""
    draw = torch.Generator().manual_seed(2)
    return 50 + torch.randn(count, 3, 4, 5, generator=draw, dtype=torch.float64)


def run(norm: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Two rounds of training: outputs, gradients of samples and of parameters, buffers."""
    x = x.clone().requires_grad_()
    for _ in range(ROUNDS):
        y = norm(x)
        (y.sigmoid() * torch.arange(5.0, device=x.device)).sum().backward()
    found = {"out": y.detach(), "x": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad}
    return found | {name: value.clone() for name, value in norm.named_buffers()}


def work(folder: Path, sizes: tuple[int, ...], device: str = "cpu", torchs: bool = False) -> None:
    """One process with its part of the samples."""
    set_threads(1)
    rank = make_fabric(toy_recipe().schedule, "cpu", range(len(sizes))).global_rank
    norm = layer().to(device)
    if torchs:
        norm = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    else:
        synchronise(norm)
        assert synchronised(norm)
    first = sum(sizes[:rank])
    found = run(norm.train(), samples(sum(sizes))[first : first + sizes[rank]].to(device))
    torch.save({name: value.cpu() for name, value in found.items()}, folder / f"{rank}.pt")


def of_processes(folder: Path, sizes: tuple[int, ...], *more: object) -> dict[str, Tensor]:
    """What `run` finds, put together; more: further arguments of `work`, for processes that use a card."""
    folder.mkdir()
    launch(work, (folder, sizes, *more), len(sizes), "spawn" if more else "fork")
    parts = [torch.load(folder / f"{rank}.pt") for rank in range(len(sizes))]
    whole = {name: torch.cat([part[name] for part in parts]) for name in ("out", "x")}
    whole |= {name: sum(part[name] for part in parts) for name in ("weight", "bias")}
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        assert all(torch.equal(part[name], parts[0][name]) for part in parts), "equal on all processes"
        whole[name] = parts[0][name]
    return whole


@pytest.mark.parametrize("sizes", [(2, 2), (3, 1), (4, 0), (0, 2, 1)], ids=str)
def test_it_is_batch_norm_of_all_samples(sizes, tmp_path):
    """Uneven parts, and processes without samples."""
    expected = run(layer().train(), samples(sum(sizes)))
    for name, value in of_processes(tmp_path / "parts", sizes).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-9, atol=1e-9)


def test_where_nobody_has_a_sample_statistics_stay(tmp_path):
    found = of_processes(tmp_path / "parts", (0, 0))
    assert found["out"].shape == (0, 3, 4, 5) and found["num_batches_tracked"] == 0
    assert torch.equal(found["running_mean"], torch.zeros(3).double()), "no average with nothing"
    assert not found["weight"].any() and not found["bias"].any()


def test_evaluation_and_names_are_those_of_batch_norm():
    norm = layer().eval()
    plain, x = norm(samples(2)), samples(2)
    keys = list(norm.state_dict())
    synchronise(norm)
    assert isinstance(norm, SyncNorm) and list(norm.state_dict()) == keys
    torch.testing.assert_close(norm(x), plain)


def test_norms_that_it_can_t_stand_for_are_refused():
    for norm in (nn.BatchNorm1d(3), nn.BatchNorm2d(3, affine=False), nn.BatchNorm2d(3, momentum=None)):
        with pytest.raises(WsisError, match="sync_norm"):
            synchronise(nn.Sequential(norm))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's layer needs a graphics card")
def test_on_a_card_it_is_torch_s_layer(tmp_path):
    """Two processes share a card; gloo passes the sums."""
    ours = of_processes(tmp_path / "ours", (3, 1), "cuda", False)
    theirs = of_processes(tmp_path / "torchs", (3, 1), "cuda", True)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-4, atol=1e-4)
