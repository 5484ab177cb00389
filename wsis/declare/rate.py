"""The learning rate as a function of the iteration, and what is doubtful about a schedule."""

from __future__ import annotations

import math

from wsis.declare.recipe import Recipe
from wsis.declare.settings import flatten
from wsis.declare.specs.schedule import ScheduleSpec


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


def doubts(recipe: Recipe) -> list[str]:
    """What is odd: warm-ups above a third of the schedule, a peak below half of `schedule.lr`."""
    settled = recipe.settled()
    schedule, total = settled.schedule, settled.schedule.total
    if not total:
        return []
    texts = [
        f"{key} = {value} is more than a third of {total} iterations"
        for key, value in flatten(settled.model_dump(mode="json")).items()
        if key.endswith("warmup") and value > total / 3
    ]
    steps = {*range(0, total, max(total // 200, 1)), min(schedule.warmup, total - 1)}
    peak = max(learning_rate(schedule, step) for step in steps)
    if peak < schedule.lr / 2:
        texts.append(f"the learning rate never exceeds {peak:.2g}: schedule.lr is {schedule.lr:g}")
    return texts
