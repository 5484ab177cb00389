"""The optimiser that a recipe asks for."""

from __future__ import annotations

import torch

from wsis.declare.recipe import ScheduleSpec
from wsis.methods.base import Method


def build_optimizer(method: Method, schedule: ScheduleSpec) -> torch.optim.Optimizer:
    """SGD with momentum, AdamW or Adam over the method's groups; the loop sets the rate of each step."""
    groups = method.parameter_groups(schedule)
    for group in groups:
        group.setdefault("lr_scale", 1.0)
    # One kernel for all parameters; Fabric can't clip gradients under it when they are scaled (float16).
    options = {"weight_decay": schedule.weight_decay, "fused": schedule.precision != "16"}
    if schedule.optimizer == "sgd":
        return torch.optim.SGD(groups, schedule.lr, schedule.momentum, **options)
    kind = torch.optim.AdamW if schedule.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, schedule.lr, schedule.betas, **options)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Every group's learning rate becomes `lr` times the group's `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
