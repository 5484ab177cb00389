"""Batch norm over the images of all processes.

torch's own layer takes a graphics card's tensors alone. This one needs nothing but sums over the processes,
so that processes on a CPU train, and are tested, alike.
Shapes: B samples of this process, C channels, W processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from wsis.errors import WsisError


class SyncNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d whose mean and variance, in training, are over the samples of all processes.

    Every process must call it as often, and back-propagate through it; one may have no samples (B = 0).
    """

    def forward(self, x: Tensor) -> Tensor:
        """B x C x H x W of any precision; statistics are float32 at least."""
        if not self.training:
            return super().forward(x)
        mean, variance, count = statistics(x)
        self._remember(mean.detach(), variance.detach(), count)
        scale = self.weight.to(mean) * (variance + self.eps).rsqrt()
        shift = self.bias.to(mean) - mean * scale
        scale, shift = (value.to(x.dtype)[:, None, None] for value in (scale, shift))
        return torch.addcmul(shift, x, scale)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as torch's layer does, where anybody has a sample."""
        there = count > 0
        self.num_batches_tracked += there
        unbiased = variance * count / (count - 1).clamp(min=1)
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
            running.lerp_(value.to(running), self.momentum * there.to(running))


def statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and (biased) variance of each channel over all processes, C each, and their number.

    Means and variances of the processes are put together as those of groups: a sum of squares over all of
    them would cancel digits. A process without samples has a gradient path all the same.
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    count = x.new_tensor(x.numel() // x.shape[1])
    if x.numel():
        variance, mean = torch.var_mean(x, (0, 2, 3), correction=0)
    else:
        mean = variance = x.sum((0, 2, 3))
    own = torch.cat([mean, variance, count[None]])
    rows = torch.zeros(dist.get_world_size(), len(own), dtype=own.dtype, device=own.device)
    rows[dist.get_rank()] = own
    means, variances, counts = _Sum.apply(rows).split([x.shape[1], x.shape[1], 1], 1)
    total = counts.sum().detach()
    share = counts.detach() / total.clamp(min=1)
    mean = (share * means).sum(0)
    return mean, (share * (variances + (means - mean).square())).sum(0), total


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes. Each of them uses it: its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Tensor:
        gradient = gradients[0].contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


def synchronise(network: nn.Module) -> None:
    """Turn a network's batch norms into `SyncNorm`, in place; parameters and names stay.

    Raises WsisError for a batch norm of another kind: timm's have activations, some have no statistics.
    """
    for name, module in network.named_modules():
        usual = type(module) in (nn.BatchNorm2d, SyncNorm) and module.affine and module.track_running_stats
        if usual and module.momentum is not None:
            module.__class__ = SyncNorm
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise WsisError(f"schedule.sync_norm: {type(module).__name__} '{name}' can't be synchronised")


def synchronised(network: nn.Module) -> bool:
    """Whether a network has batch norms over all processes."""
    return any(isinstance(module, SyncNorm) for module in network.modules())
