"""The loop in this process: accumulation, precision, the log, aborts, initial weights."""

import itertools
import json
import os
import signal

import pytest
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import nn

from tests.engine.toy import Toy, toy_batches, toy_recipe
from wsis.declare.rate import learning_rate
from wsis.engine import launch
from wsis.engine import state as engine_state
from wsis.engine import train as engine_train
from wsis.engine.checkpoint import load_checkpoint
from wsis.engine.launch import make_fabric
from wsis.engine.memory import split_batch
from wsis.engine.train import TrainOptions, train
from wsis.errors import WsisError
from wsis.methods.base import Method
from wsis.methods.weights import load_model
from wsis.signals import LIMIT, Interrupted

QUIET = TrainOptions(progress=False)


def run(folder, recipe, method=None, stream=toy_batches, parent=None, options=QUIET):
    torch.manual_seed(0)
    method = method or Toy()
    fabric = make_fabric(recipe.schedule, "cpu", [0])
    return method, train(recipe, method, stream, folder, fabric, parent, options)


def lines(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_run_learns_and_leaves_model_log_and_summary(tmp_path):
    method, summary = run(tmp_path, toy_recipe(iterations=60))
    log = lines(tmp_path)
    assert [entry["iteration"] for entry in log] == list(range(60))
    assert sum(e["total"] for e in log[-10:]) < 0.5 * sum(e["total"] for e in log[:10])
    schedule = toy_recipe(iterations=60).schedule
    for entry in log:
        assert entry["lr"] == learning_rate(schedule, entry["iteration"])
        assert entry["total"] == pytest.approx(sum(entry["losses"].values()))
    expected = sum(e["losses"]["fit"] for e in log[-20:]) / 20
    assert summary["losses"]["fit"] == pytest.approx(expected)
    assert summary["iterations"] == 60 and summary["resumed"] == 0 and summary["deviations"] == []
    saved = load_model(tmp_path / "model.safetensors")
    assert saved["recipe"] == toy_recipe(iterations=60).id
    assert all(torch.equal(value, method.state_dict()[name]) for name, value in saved["model"].items())
    assert not (tmp_path / "checkpoints").exists()  # a short run writes none


def test_what_a_method_tells_of_every_hundredth_step_is_logged(tmp_path):
    class Telling(Toy):
        def losses(self, batch, generator):
            if self.watched is not None:
                self.watched["weight"] = self.out.weight.detach().norm()
            return super().losses(batch, generator)

    recipe = toy_recipe(iterations=102)
    torch.manual_seed(0)
    run(tmp_path / "telling", recipe, Telling())
    run(tmp_path / "silent", recipe)
    log = lines(tmp_path / "telling")
    told = {entry["iteration"]: entry.get("watched") for entry in log}
    assert [iteration for iteration, values in told.items() if values] == [0, 100]
    assert told[0].keys() == {"weight"} and told[0] != told[100]
    assert [e["losses"] for e in log] == [e["losses"] for e in lines(tmp_path / "silent")]


class Plain(Method):
    """No randomness, so that only the split of the batch differs."""

    def __init__(self):
        super().__init__(toy_recipe())
        self.conv = nn.Conv2d(3, 4, 3)
        self.out = nn.Linear(4, 1)

    def losses(self, batch, generator):
        out = self.out(self.conv(batch.images / 255.0).relu().mean((2, 3)))
        return {
            "fit": (out - torch.stack([t.boxes.sum().reshape(1) for t in batch.targets]) / 100)
            .square()
            .mean()
        }


@pytest.mark.parametrize("max_images, micro", [(2, 2), (1, 4)])
def test_accumulated_gradients_equal_those_of_one_large_batch(tmp_path, max_images, micro):
    recipe = toy_recipe(iterations=1, warmup=0, weight_decay=0.0, momentum=0.0, lr=1.0, milestones=(9,))
    seen = []

    def stream(shard):
        seen.append(shard.micro)
        return toy_batches(shard)

    torch.manual_seed(0)
    before = Plain().state_dict()
    moved = []
    for limit in (4, max_images):
        torch.manual_seed(0)
        method = Plain()
        run(
            tmp_path / str(limit),
            recipe,
            method,
            stream,
            options=TrainOptions(max_images=limit, progress=False),
        )
        moved.append({name: before[name] - value for name, value in method.state_dict().items()})
    assert seen == [1, micro]
    for name, gradient in moved[0].items():  # lr 1 without momentum: the update is the gradient
        assert gradient.abs().max() > 1e-4
        torch.testing.assert_close(moved[1][name], gradient, rtol=0, atol=1e-6)


def test_clipping_bounds_the_update(tmp_path):
    recipe = toy_recipe(
        iterations=1, warmup=0, weight_decay=0.0, momentum=0.0, lr=1.0, milestones=(9,), clip=1e-3
    )
    torch.manual_seed(0)
    before = [p.clone() for p in Plain().parameters()]
    torch.manual_seed(0)
    method = Plain()
    run(tmp_path, recipe, method)
    moved = torch.stack([(p - q).norm() for p, q in zip(method.parameters(), before, strict=True)]).norm()
    assert moved.item() == pytest.approx(1e-3, rel=1e-3)


def test_split_batch():
    assert split_batch(16, 8, 2) == 1
    assert split_batch(16, 1, 2) == 8
    assert split_batch(16, 2, 3) == 4
    assert split_batch(6, 1, 4) == 2
    with pytest.raises(WsisError, match="16 images can't be split evenly over 3"):
        split_batch(16, 3, 2)


@pytest.mark.parametrize("native, instead", [(True, "bf16"), (False, "32")])
def test_fewer_devices_and_another_precision_are_recorded(tmp_path, monkeypatch, native, instead):
    monkeypatch.setattr(launch, "native_bf16", lambda accelerator: native)
    _, summary = run(tmp_path, toy_recipe(iterations=2, devices=2, precision="16"))
    assert summary["precision"] == instead
    assert summary["deviations"] == [
        "1 device(s) instead of 2, batch 4 kept by 2 accumulation steps",
        f"precision {instead} instead of 16",
    ]


@pytest.mark.parametrize("native, chosen", [(True, "bf16"), (False, "32")])
def test_auto_is_the_precision_that_the_device_has_and_no_deviation(tmp_path, monkeypatch, native, chosen):
    monkeypatch.setattr(launch, "native_bf16", lambda accelerator: native)
    _, summary = run(tmp_path, toy_recipe(iterations=1, precision="auto"))
    assert summary["precision"] == chosen and summary["deviations"] == []


def test_lowered_instruction_sets_have_no_native_bf16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for lowered in ("DEFAULT", "AVX2"):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda lowered=lowered: lowered)
        assert launch.possible_precision("bf16", "cpu") == "32"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert launch.possible_precision("bf16", "cpu") == "bf16"
    assert launch.possible_precision("32", "cpu") == "32"


def test_mixed_precision_leaves_boxes_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "native_bf16", lambda accelerator: True)

    class Looks(Plain):
        def losses(self, batch, generator):
            assert batch.targets[0].boxes.dtype == batch.scales.dtype == torch.float32
            assert torch.is_autocast_enabled("cpu")
            return super().losses(batch, generator)

    _, summary = run(tmp_path, toy_recipe(iterations=2, precision="bf16"), Looks())
    assert summary["precision"] == "bf16" and summary["deviations"] == []


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_the_first_non_finite_loss_stops_the_run_and_is_named(tmp_path, monkeypatch, value, late):
    monkeypatch.setattr(engine_train, "reads_late", lambda device: late)

    class Breaks(Toy):
        def losses(self, batch, generator):
            losses = super().losses(batch, generator)
            if 7003 in batch.ids:
                losses["other"] = losses["other"] * float(value)
            return losses

    options = TrainOptions(max_images=2, progress=False)
    with pytest.raises(WsisError, match=r"iteration 7 .*other \(images 7002, 7003\)$") as error:
        run(tmp_path, toy_recipe(), Breaks(), options=options)
    assert "fit" not in str(error.value)
    assert not (tmp_path / "model.safetensors").exists()
    assert [entry["iteration"] for entry in lines(tmp_path)] == list(range(7))


def test_losses_read_a_step_late_are_logged_and_resumed_all_the_same(tmp_path, monkeypatch):
    """As on a graphics card; the run is stopped by a signal at iteration 11."""
    expected, _ = run(tmp_path / "whole", toy_recipe())
    monkeypatch.setattr(engine_train, "reads_late", lambda device: True)

    def signalled(shard):
        for iteration, item in enumerate(toy_batches(shard), shard.start):
            if iteration == 11 and shard.start == 0:
                os.kill(os.getpid(), signal.SIGTERM)
            yield item

    with pytest.raises(Interrupted) as error:
        run(tmp_path / "late", toy_recipe(), stream=signalled)
    assert error.value.status == 143
    method, summary = run(tmp_path / "late", toy_recipe(), stream=signalled)
    assert summary["resumed"] == 1
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), method.parameters(), strict=True))
    logs = [[(e["iteration"], e["losses"]) for e in lines(tmp_path / name)] for name in ("whole", "late")]
    assert logs[0] == logs[1]


def test_a_child_starts_from_its_parents_weights(tmp_path):
    parent, _ = run(tmp_path / "parent", toy_recipe(iterations=5))
    child, summary = run(
        tmp_path / "child", toy_recipe(iterations=0), parent=tmp_path / "parent" / "model.safetensors"
    )
    assert summary["iterations"] == 0 and summary["losses"] == {}
    assert all(
        torch.equal(a, b)
        for a, b in zip(parent.state_dict().values(), child.state_dict().values(), strict=True)
    )
    assert (tmp_path / "child" / "model.safetensors").exists()


def test_data_that_end_early_are_an_error(tmp_path):
    def short(shard):
        stream = toy_batches(shard)
        for _ in range(3):
            yield next(stream)

    with pytest.raises(WsisError, match="ended at iteration 3 of 40"):
        run(tmp_path, toy_recipe(), stream=short)


def test_randomness_of_a_method_depends_on_seed_iteration_and_shard_only(tmp_path):
    draws = {}

    class Draws(Toy):
        def losses(self, batch, generator):
            draws[batch.ids[0]] = torch.rand(3, generator=generator).tolist()
            return super().losses(batch, generator)

    run(tmp_path / "a", toy_recipe(iterations=4), Draws(), options=TrainOptions(max_images=2, progress=False))
    first = dict(draws)
    run(tmp_path / "b", toy_recipe(iterations=4), Draws(), options=TrainOptions(max_images=2, progress=False))
    assert draws == first and len({tuple(draw) for draw in first.values()}) == 8
    run(
        tmp_path / "c",
        toy_recipe(iterations=4, seed=9),
        Draws(),
        options=TrainOptions(max_images=2, progress=False),
    )
    assert not set(map(tuple, first.values())) & set(map(tuple, draws.values()))


class Poisons(Toy):
    """Finite losses, whose gradient is none at iteration 7: of 0 times a square root at 0."""

    at = 7000

    def losses(self, batch, generator):
        losses = super().losses(batch, generator)
        if self.at in batch.ids:
            losses["fit"] = losses["fit"] + (self.out.weight * 0).sum().sqrt()
        return losses


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("clip", [0.0, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_gradient_that_is_not_finite_stops_the_run_before_it_moves_a_weight(
    tmp_path, monkeypatch, late, clip, optimizer
):
    monkeypatch.setattr(engine_train, "reads_late", lambda device: late)
    recipe = toy_recipe(clip=clip, optimizer=optimizer)
    torch.manual_seed(0)
    method, each = Poisons(), TrainOptions(progress=False, checkpoint_iterations=1)
    for _ in range(2):  # from the start, and from the last checkpoint
        ids = "images 7000, 7001, 7002, 7003"
        with pytest.raises(WsisError, match=rf"gradient not finite at iteration 7 .*: {ids}$"):
            run(tmp_path, recipe, method, options=each)
        assert all(value.isfinite().all() for value in method.state_dict().values())
        assert load_checkpoint(tmp_path / "checkpoints", recipe.id)["iteration"] == (7 if not late else 6)
    expected, _ = run(tmp_path / "whole", recipe)
    mended, summary = run(tmp_path, recipe)
    assert summary["resumed"] == 1
    assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), mended.parameters(), strict=True))


def test_a_step_that_float16_skips_is_done_again_with_a_smaller_scale(tmp_path):
    """On the CPU, whose float16 overflows like a card's; the scale is far too large for four tries."""
    recipe, seen = toy_recipe(iterations=5), []

    class Counts(Toy):
        def losses(self, batch, generator):
            seen.append(batch.ids[0] // 1000)
            return super().losses(batch, generator)

        def on_step_end(self, iteration):
            super().on_step_end(iteration)
            weights.append(self.out.weight.detach().clone())

    method = Counts(dropout=0.0, noise=0.0)
    weights = [method.out.weight.detach().clone()]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    train(recipe, method, toy_batches, tmp_path, fabric, None, QUIET)
    assert seen.count(0) > 4 and sorted({*seen}) == [0, 1, 2, 3, 4] and seen == sorted(seen)
    assert method.steps == 5
    assert not any(torch.equal(a, b) for a, b in itertools.pairwise(weights)), "a step moves the weights"
    assert [entry["iteration"] for entry in lines(tmp_path)] == list(range(5))


def test_float16_gives_up_where_no_scale_makes_the_gradient_finite(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    fabric = Fabric(accelerator="cpu", devices=1, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    with pytest.raises(WsisError, match="gradient not finite at iteration 7"):
        train(toy_recipe(), Poisons(), toy_batches, tmp_path, fabric, None, QUIET)


def test_deviations_of_an_attempt_are_those_of_the_run_that_goes_on(tmp_path, monkeypatch):
    """Attempts on two kinds of device, the second with fewer images at once."""

    def stopped(at):
        def stream(shard):
            for iteration, item in enumerate(toy_batches(shard), shard.start):
                if iteration == at:
                    os.kill(os.getpid(), signal.SIGUSR1)
                yield item

        return stream

    monkeypatch.setattr(engine_state, "device_name", lambda device: "card A")
    with pytest.raises(Interrupted) as error:
        run(tmp_path, toy_recipe(), stream=stopped(4))
    assert error.value.status == LIMIT
    monkeypatch.setattr(engine_state, "device_name", lambda device: "card B")
    with pytest.raises(Interrupted):
        run(tmp_path, toy_recipe(), stream=stopped(9), options=TrainOptions(1, progress=False))
    _, summary = run(tmp_path, toy_recipe())
    assert summary["deviations"] == [
        "went on at iteration 5 on card B after card A",
        "1 instead of 4 images at once, batch 4 kept by accumulation",
    ]
