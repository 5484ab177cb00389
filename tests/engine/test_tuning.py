"""Compiled towers give the same numbers under the same names; cuDNN chooses for images of one size alone."""

import copy
import os
import signal

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager

from tests.device.test_methods import method_and_batches
from tests.engine.toy import Toy, train_toy
from wsis.engine import tuning
from wsis.engine.checkpoint import load_checkpoint
from wsis.engine.tuning import as_written, compiled, tuned
from wsis.errors import WsisError
from wsis.methods.weights import load_model
from wsis.signals import Interrupted


@pytest.fixture
def graphs(monkeypatch):
    """Compile without a compiler; the graphs that were compiled."""
    found = []

    def backend(graph, inputs, **options):
        found.append(graph)
        return aot_eager(graph, inputs, **options)

    monkeypatch.setattr(tuning, "BACKEND", backend)
    torch._dynamo.reset()
    yield found
    torch._dynamo.reset()


def numbers(method, batch):
    """Losses, and gradients by name."""
    losses = method.losses(batch, torch.Generator().manual_seed(0))
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    return {name: loss.detach() for name, loss in losses.items()} | gradients


@pytest.mark.slow
@pytest.mark.parametrize("name", ["condinst", "mask_rcnn", "boxcaseg", "baiseg"])
def test_losses_and_gradients_are_equal_and_names_stay(name, graphs):
    method, batches = method_and_batches(name, 2)
    plain = copy.deepcopy(method)
    expected = numbers(plain, batches[0])
    with compiled(method):
        assert list(method.state_dict()) == list(plain.state_dict())
        found = numbers(method, batches[0])
        assert len(graphs) >= len(method.towers())
        assert copy.deepcopy(method).towers()[0]._compiled_call_impl is None
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(
            found[key], value, rtol=1e-5, atol=1e-5 * max(1.0, value.abs().max().item())
        )
    before = len(graphs)
    numbers(method, batches[1])
    assert len(graphs) == before, "nothing is compiled once the training is over"


def test_predictions_during_a_training_are_not_compiled(graphs):
    method, image = Toy(), torch.rand(2, 3, 8, 8)
    with compiled(method):
        with as_written(method):
            method.conv(image)
        assert not graphs
        method.conv(image)
        assert len(graphs) == 1
    method.conv(torch.rand(3, 3, 9, 9))
    assert len(graphs) == 1


def test_a_compiled_training_resumes(graphs, tmp_path, monkeypatch):
    """Stopped and gone on with, it has an uncut one's weights, which are an eager one's but for rounding."""
    schedule = {"compile": True, "iterations": 12}
    train_toy(tmp_path / "eager", iterations=12)
    assert not graphs
    train_toy(tmp_path / "uncut", **schedule)
    assert graphs
    hook = Toy.on_step_end

    def stop(self, iteration):
        hook(self, iteration)
        if iteration == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Toy, "on_step_end", stop)
    with pytest.raises(Interrupted):
        train_toy(tmp_path / "cut", **schedule)
    monkeypatch.setattr(Toy, "on_step_end", hook)
    names = list(Toy().state_dict())
    recipe = load_model(tmp_path / "uncut" / "model.safetensors")["recipe"]
    assert list(load_checkpoint(tmp_path / "cut" / "checkpoints", recipe)["model"]) == names
    assert train_toy(tmp_path / "cut", **schedule)["resumed"] == 1
    eager, uncut, cut = (
        load_model(tmp_path / name / "model.safetensors")["model"] for name in ("eager", "uncut", "cut")
    )
    assert sorted(uncut) == sorted(names)
    for name, value in uncut.items():
        assert torch.equal(cut[name], value), name
        torch.testing.assert_close(value, eager[name], rtol=1e-4, atol=1e-6)


def test_what_cannot_be_compiled_is_one_line(tmp_path, monkeypatch):
    def broken(graph, inputs, **options):
        raise OSError("no compiler found\nat all")

    monkeypatch.setattr(tuning, "BACKEND", broken)
    torch._dynamo.reset()
    with pytest.raises(WsisError, match=r"schedule\.compile: .*OSError: no compiler found; set") as error:
        train_toy(tmp_path, compile=True)
    assert "\n" not in str(error.value)
    monkeypatch.setattr(Toy, "towers", lambda self: [])
    with pytest.raises(WsisError, match="'boxinst' has nothing to compile"):
        train_toy(tmp_path, compile=True)


@pytest.mark.parametrize("deterministic", [False, True])
def test_cudnn_chooses_for_images_of_one_size(deterministic, monkeypatch):
    """Not where deterministic algorithms are asked for; afterwards it is as it was."""
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: deterministic)
    method, cudnn = Toy(), torch.backends.cudnn
    for one_size in (False, True):
        method.one_size = one_size
        with tuned(method, compile=False):
            assert cudnn.benchmark == (one_size and not deterministic)
        assert not cudnn.benchmark


def test_methods_that_crop_have_images_of_one_size():
    cropped = {"boxcaseg", "baiseg", "ocrnet"}
    for name in ("condinst", "mask_rcnn", *sorted(cropped)):
        method, batches = method_and_batches(name, 2)
        assert method.one_size == (name in cropped)
        assert name not in cropped or len({batch.images.shape[2:] for batch in batches}) == 1
