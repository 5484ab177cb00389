"""The contract with the engine: what a method gets for nothing, and what methods refuse."""

import json
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from tests.methods.baiseg import scenes as baiseg
from tests.methods.scenes import recipe
from wsis.data.loading import Shard
from wsis.data.roots import open_root
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import BoxMask, Instances
from wsis.declare.specs.data import ShapesSpec
from wsis.engine.launch import make_fabric, set_threads
from wsis.engine.predict import predict
from wsis.engine.step import batches
from wsis.engine.train import TrainOptions, train
from wsis.errors import WsisError
from wsis.methods import METHODS, build_method, info_of
from wsis.methods.base import Method

NETWORKS = {name: info_of(name).network.split(":") for name in METHODS}
READ = {"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64}


class Counts(Method):
    """Learns how many objects an image has; finds one of them everywhere."""

    def __init__(self, recipe):
        super().__init__(recipe)
        self.out = nn.Linear(3, 1)

    def losses(self, batch, generator):
        colours = batch.images.float().mean((2, 3)) / 255
        counts = torch.tensor([[float(len(target.labels))] for target in batch.targets])
        return {"loss_count": (self.out(colours) - counts).square().mean()}

    def predict(self, samples):
        return [
            Instances(
                torch.zeros(1, 4),
                torch.zeros(1, dtype=torch.int64),
                torch.ones(1),
                [{"size": [*sample.size], "counts": b"0" + b"4"}],
            )
            for sample in samples
        ]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_one(name):
    module, network = NETWORKS[name]
    assert issubclass(getattr(import_module(module), network), Method)


def test_losses_and_predictions_are_all_that_a_detector_has_to_bring(tmp_path):
    set_threads(1)
    own = recipe(data=READ, schedule={"iterations": 3, "batch": 2, "devices": 1, "warmup": 0})
    place = write_shapes(ShapesSpec(size=64, train_images=4, val_images=3), 0, tmp_path / "shapes")
    root, fabric, method = open_root(own, place), make_fabric(own.schedule, "cpu", [0]), Counts(own)
    before = method.out.bias.clone()

    def stream(shard: Shard):
        return batches(method, root, None, shard)

    train(own, method, stream, tmp_path, fabric, None, TrainOptions(progress=False))
    assert not torch.equal(method.out.bias, before)
    assert predict(method, root, tmp_path / "predictions.json", fabric, show=False) == {}
    entries = json.loads((tmp_path / "predictions.json").read_text())
    assert [entry["image_id"] for entry in entries] == [picture.id for picture in root.eval]
    with pytest.raises(WsisError, match="makes no masks of training images"):
        method.training_samples(root, root.train)


def test_masks_of_annotated_objects_carry_their_ids(tmp_path):
    place = write_shapes(ShapesSpec(size=64, train_images=4, val_images=3), 0, tmp_path / "shapes")
    boxes = build_method(recipe(method="boxes", data=READ), 3)
    root = open_root(boxes.recipe, place)
    boxes.fill = lambda samples: [
        [BoxMask({"size": [64, 64], "counts": b"0"}, id / 100) for id in sample.annotation_ids]
        for sample in samples
    ]
    samples = list(boxes.samples(root))
    for picture, instances in zip(root.eval, boxes.predict(samples), strict=True):
        assert instances.annotation_ids == [i.id for i in picture.instances if not i.crowd]
        assert instances.labels.tolist() == [i.label for i in picture.instances if not i.crowd]
        assert instances.scores.tolist() == pytest.approx([id / 100 for id in instances.annotation_ids])


@pytest.mark.parametrize(
    ("asked", "needs"),
    [
        (recipe(method="boxes"), "give it boxes of each image"),
        (baiseg.recipe(eval_semantics="ground_truth"), "needs a semantic map"),
        (baiseg.recipe(boundary="truth"), "needs the objects' contours"),
    ],
)
def test_methods_that_need_more_than_an_image_say_so(asked, needs):
    with pytest.raises(WsisError, match=needs):
        build_method(asked, 3).image_sample(np.zeros((70, 90, 3), np.uint8), 5)


def test_no_method_imports_the_engine():
    modules = sorted({module for module, _ in NETWORKS.values()})
    code = f"import sys, {', '.join(modules)}; print([m for m in sys.modules if 'wsis.engine' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
