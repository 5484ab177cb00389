import itertools
import math

import pytest
import torch
from torch import nn

from wsis.declare.rate import doubts, learning_rate
from wsis.declare.recipe import Recipe
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.schedule import build_optimizer, set_learning_rate
from wsis.methods.base import Method


def test_step_agrees_with_torchs_schedulers():
    schedule = ScheduleSpec(
        lr=0.01, iterations=90, milestones=(60, 80), decay="step", warmup=10, warmup_factor=0.001
    )
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], schedule.lr)
    warm = torch.optim.lr_scheduler.LinearLR(optimizer, 0.001, 1.0, total_iters=10)
    step = torch.optim.lr_scheduler.MultiStepLR(optimizer, [60, 80], 0.1)
    for iteration in range(90):
        assert learning_rate(schedule, iteration) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        warm.step()
        step.step()


@pytest.mark.parametrize("decay", ["poly", "cosine"])
def test_poly_and_cosine_agree_with_torchs_schedulers_over_the_whole_run(decay):
    schedule = ScheduleSpec(lr=0.02, iterations=20, length=3.0, decay=decay, power=0.9, warmup=0)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], schedule.lr)
    reference = (
        torch.optim.lr_scheduler.PolynomialLR(optimizer, 60, 0.9)
        if decay == "poly"
        else torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 60)
    )
    for iteration in range(60):
        assert learning_rate(schedule, iteration) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        reference.step()


def test_milestones_are_absolute_whatever_the_length():
    schedule = ScheduleSpec(lr=1.0, iterations=90, length=3.0, milestones=(210, 250), warmup=0)
    rates = [learning_rate(schedule, i) for i in range(schedule.total)]
    assert [i for i in range(1, len(rates)) if rates[i] != rates[i - 1]] == [210, 250]
    assert rates[-1] == pytest.approx(0.01)


def test_warmup_starts_at_the_factor_and_is_linear():
    schedule = ScheduleSpec(lr=2.0, iterations=100, milestones=(90,), warmup=20, warmup_factor=0.25)
    rates = [learning_rate(schedule, i) for i in range(21)]
    assert rates[0] == pytest.approx(0.5) and rates[20] == 2.0
    steps = [b - a for a, b in itertools.pairwise(rates)]
    assert max(steps) - min(steps) < 1e-12


def network() -> Method:
    method = Method(Recipe(method="boxinst"))
    method.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4), nn.Linear(4, 2))
    return method


def test_norm_layers_are_not_decayed_and_every_parameter_is_in_one_group():
    model = network()
    frozen = model.layers[3].bias.requires_grad_(False)
    groups = model.parameter_groups(ScheduleSpec(weight_decay=1e-4))
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decay) == 7
    assert id(frozen) not in decay
    for index, expected in [(0, 1e-4), (1, 0.0), (2, 0.0), (3, 1e-4)]:
        assert {decay[id(p)] for p in model.layers[index].parameters() if p.requires_grad} == {expected}


@pytest.mark.parametrize("name", ["sgd", "adamw", "adam"])
def test_optimizer_has_the_recipes_settings(name):
    schedule = ScheduleSpec(optimizer=name, lr=0.3, momentum=0.7, betas=(0.8, 0.9), weight_decay=0.01)
    optimizer = build_optimizer(network(), schedule)
    assert type(optimizer).__name__.lower() == name
    group = optimizer.param_groups[0]
    assert group["momentum"] == 0.7 if name == "sgd" else group["betas"] == (0.8, 0.9)
    assert group["weight_decay"] == 0.01


def test_a_methods_own_groups_are_used_and_scaled():
    class Own(Method):
        def parameter_groups(self, schedule: ScheduleSpec) -> list[dict]:
            return [{"params": [self.out.weight], "lr_scale": 0.1}, {"params": [self.out.bias]}]

    own = Own(Recipe(method="boxinst"))
    own.out = nn.Linear(2, 2)
    optimizer = build_optimizer(own, ScheduleSpec())
    set_learning_rate(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [pytest.approx(0.05), 0.5]
    assert math.isclose(optimizer.param_groups[1]["weight_decay"], 1e-4)


def test_a_long_warm_up_and_a_low_peak_are_doubtful():
    def said(**keys):
        return doubts(Recipe(method="boxinst", schedule=ScheduleSpec(**keys)))

    assert said() == []
    assert said(iterations=0) == []
    text = " ".join(said(iterations=1200, milestones=()))
    assert "schedule.warmup = 1000 is more than a third of 1200" in text
    assert "loss.pairwise.warmup = 10000 is more than a third of 1200" in text
    assert "exceeds" not in text
    assert "never exceeds 0.004" in " ".join(said(iterations=400, milestones=()))
