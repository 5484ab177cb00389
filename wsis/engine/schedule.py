"""Learning rate as a pure function of the iteration, and the optimiser a recipe asks for."""

from __future__ import annotations

import math

import torch

from wsis.declare.recipe import ScheduleSpec
from wsis.methods.base import Method


def learning_rate(schedule: ScheduleSpec, iteration: int) -> float:
    """The learning rate of step `iteration` (from 0).

    step:   lr / 10^(number of milestones at or before `iteration`); milestones are absolute iterations
    poly:   lr * (1 - iteration / total)^power
    cosine: lr * (1 + cos(pi * iteration / total)) / 2
    All are multiplied by a linear warm-up from `warmup_factor` to 1 over the first `warmup` iterations.
    """
    lr = schedule.lr
    progress = min(iteration / schedule.total, 1.0) if schedule.total else 1.0
    if schedule.decay == "step":
        lr *= 0.1 ** sum(iteration >= milestone for milestone in schedule.milestones)
    elif schedule.decay == "poly":
        lr *= (1 - progress) ** schedule.power
    else:
        lr *= (1 + math.cos(math.pi * progress)) / 2
    if iteration < schedule.warmup:
        ramp = iteration / schedule.warmup
        lr *= schedule.warmup_factor * (1 - ramp) + ramp
    return lr


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
