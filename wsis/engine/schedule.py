"""The optimiser that a recipe asks for."""

from __future__ import annotations

import torch
from torch import Tensor

from wsis.declare.specs.schedule import ScheduleSpec
from wsis.methods.base import Method


def build_optimizer(
    method: Method, schedule: ScheduleSpec, scaler: torch.amp.GradScaler | None = None
) -> torch.optim.Optimizer:
    """SGD with momentum, AdamW or Adam over the method's groups; the loop sets the rate of each step.

    scaler: of the gradients in float16.
    """
    groups = method.parameter_groups(schedule)
    for group in groups:
        group.setdefault("lr_scale", 1.0)
    # One kernel for all parameters; Fabric can't clip gradients under it when they are scaled (float16).
    options = {"weight_decay": schedule.weight_decay, "fused": scaler is None}
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, schedule.lr, schedule.momentum, **options)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, schedule.lr, schedule.betas, **options)


def update(optimizer: torch.optim.Optimizer, norm: Tensor, scaler: torch.amp.GradScaler | None) -> bool:
    """A step of the optimiser (as Fabric wraps it); a gradient that is not finite leaves the weights alone.

    norm: of the gradient, a scalar on its device; nothing waits for it. scaler: float16's, which then halves
    its scale. Returns False where it did, and there is a smaller scale to try: the gradient is to be computed
    again.
    """
    if scaler is None:
        optimizer.optimizer.found_inf = (~norm.isfinite()).float()  # what torch's fused optimisers ask
        optimizer.step()
        return True
    scale = scaler.get_scale()
    optimizer.step()
    return scaler.get_scale() >= scale or scale < 1


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Every group's learning rate becomes `lr` times the group's `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
