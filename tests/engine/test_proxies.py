"""Masks that another network learns: a process that is told to stop keeps them, and the next one goes on."""

import os
import signal

import numpy as np
import pytest
from pycocotools.mask import encode

from tests.methods.scenes import recipe
from wsis.data.roots import open_root
from wsis.data.shapes.write import write_shapes
from wsis.data.structures import BoxMask
from wsis.declare.specs.data import ShapesSpec
from wsis.engine.checkpoint import save_model
from wsis.engine.launch import make_fabric
from wsis.engine.proxies import make_proxies
from wsis.methods import build_method
from wsis.proxy.folder import proxy_files
from wsis.proxy.generate import read_proxies
from wsis.signals import LIMIT, Interrupted

READ = {"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64}


@pytest.fixture
def network(tmp_path, monkeypatch):
    """A method whose training images are filled one by one, its root, where it lies, and a Fabric."""
    monkeypatch.setattr("wsis.data.loading.MAX_IMAGES", 1)
    place = write_shapes(ShapesSpec(size=64, train_images=4, val_images=1), 0, tmp_path / "shapes")
    own = recipe(method="boxes", data=READ)
    method = build_method(own, 3)
    save_model(tmp_path, own.id, 0, method)
    return method, open_root(own, place), tmp_path, make_fabric(own.schedule, "cpu", [0])


def told_to_stop(method, when):
    """Masks are whole images; the notice comes `when` a number of images was seen. Returns their ids."""
    seen, whole = [], encode(np.ones((64, 64), np.uint8, order="F"))

    def fill(samples):
        seen.extend(sample.id for sample in samples)
        if when(len(seen)):
            os.kill(os.getpid(), signal.SIGUSR1)
        return [[BoxMask(whole, 0.5) for _ in sample.annotation_ids] for sample in samples]

    method.fill = fill
    return seen


def test_a_time_limit_costs_no_mask(network):
    method, root, folder, _ = network
    seen = told_to_stop(method, lambda count: count == 3)
    with pytest.raises(Interrupted) as error:
        make_proxies(*network, show=False)
    assert error.value.status == LIMIT and not proxy_files(folder)
    make_proxies(*network, show=False)
    assert [image["image_id"] for image in read_proxies(*proxy_files(folder))] == root.train.ids.tolist()
    assert len(seen) <= 5 and {*seen} == {*root.train.ids.tolist()}


def test_every_job_makes_a_mask_whenever_its_limit_comes(network):
    """Or it would be queued again for ever."""
    seen = told_to_stop(network[0], lambda count: True)
    for _ in range(4):
        with pytest.raises(Interrupted):
            make_proxies(*network, show=False)
    make_proxies(*network, show=False)
    assert seen == network[1].train.ids.tolist()
