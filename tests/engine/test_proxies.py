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
from wsis.engine.signals import LIMIT, Interrupted
from wsis.methods import build_method
from wsis.proxy.folder import proxy_files
from wsis.proxy.generate import read_proxies

READ = {"train": "train", "eval": "val", "short_side": [64], "eval_short_side": 64, "max_side": 64}


def test_a_time_limit_costs_no_mask(tmp_path, monkeypatch):
    monkeypatch.setattr("wsis.data.loading.MAX_IMAGES", 1)
    place = write_shapes(ShapesSpec(size=64, train_images=4, val_images=1), 0, tmp_path / "shapes")
    own = recipe(method="boxes", data=READ)
    method, root, seen = build_method(own, 3), open_root(own, place), []
    whole = encode(np.ones((64, 64), np.uint8, order="F"))
    fabric = make_fabric(own.schedule, "cpu", [0])

    def fill(samples):
        seen.extend(sample.id for sample in samples)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
        return [[BoxMask(whole, 0.5) for _ in sample.annotation_ids] for sample in samples]

    method.fill = fill
    save_model(tmp_path, own.id, 0, method)
    with pytest.raises(Interrupted) as error:
        make_proxies(method, root, tmp_path, fabric, show=False)
    assert error.value.status == LIMIT and not proxy_files(tmp_path)
    make_proxies(method, root, tmp_path, fabric, show=False)
    assert [image["image_id"] for image in read_proxies(*proxy_files(tmp_path))] == root.train.ids.tolist()
    assert len(seen) <= 5 and {*seen} == {*root.train.ids.tolist()}
