"""Trainings of real methods that break off, and the weights that they leave."""

import torch

from tests.engine.processes import hold
from wsis.engine.launch import make_fabric, set_threads
from wsis.engine.step import batches
from wsis.engine.train import TrainOptions, train
from wsis.methods import build_method
from wsis.methods.weights import load_model


def train_in(folder, recipe, root, devices=1, crash=None, every=2, salient=None, held=None):
    """Train the recipe on the CPU as the engine does.

    Its stream breaks off at iteration `crash`, and is held back before `held`, to be stopped there.
    """
    set_threads(1)
    torch.manual_seed(0)
    method = build_method(recipe, root.num_classes)

    def stream(shard):
        for t, micros in enumerate(batches(method, root, salient, shard), shard.start):
            if t == crash:
                raise RuntimeError("crash")
            if t == held:
                hold(folder / "held")
            yield micros

    options = TrainOptions(checkpoint_iterations=every, progress=False)
    fabric = make_fabric(recipe.schedule, "cpu", range(devices))
    return method, train(recipe, method, stream, folder, fabric, None, options)


def weights(folder):
    return load_model(folder / "model.safetensors")["model"]


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name
