"""Catalog, export and trainer; skipped where detectron2 is not installed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import wsis.detectron2
from wsis.data.roots import open_root
from wsis.declare.recipe import Recipe
from wsis.declare.specs.data import DataSpec
from wsis.declare.specs.loss import LossSpec, PairwiseSpec
from wsis.declare.specs.model import ModelSpec
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine.execute import execute
from wsis.engine.job import Job, RunOptions
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.trained.model import Model

pytest.importorskip("detectron2", reason="detectron2 is not installed: make detectron2 SOURCE=path")
SIZES = {"short_side": (96,), "eval_short_side": 96, "max_side": 96}


@pytest.fixture(autouse=True)
def _there(monkeypatch):
    for module in ("wsis.declare.provider", "wsis.detectron2"):
        monkeypatch.setattr(f"{module}.installed", lambda: True)


def tiny(supervision: str = "boxes", **schedule) -> Recipe:
    model = {"backbone": "tiny", "channels": 16, "tower_convs": 1, "mask_channels": 8, "head_channels": 8}
    return Recipe(
        method="boxinst",
        variant="released",
        data=DataSpec(dataset="shapes", train="train", eval="val", supervision=supervision, **SIZES),
        model=ModelSpec(weights="none", norm="batch", **model),
        loss=LossSpec(pairwise=PairwiseSpec(warmup=4, bottom_rows=0)),
        schedule=ScheduleSpec(**{"batch": 2, "iterations": 6, "milestones": (5,), "warmup": 2, **schedule}),
    ).settled()


def test_hidden_masks_are_not_in_the_catalog(shapes):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    opened = open_root(tiny(), shapes)
    name = wsis.detectron2.register(shapes, "train", tiny())
    entries = DatasetCatalog.get(name)
    assert [e["image_id"] for e in entries] == [p.id for p in opened.train]
    objects = [a for e in entries for a in e["annotations"]]
    assert objects and not [a for a in objects if "segmentation" in a]
    assert "segmentation" not in json.dumps(entries)
    assert not MetadataCatalog.get(name).get("json_file"), "its file has the masks"
    assert MetadataCatalog.get(name).thing_classes == list(opened.category_names)

    masked = DatasetCatalog.get(wsis.detectron2.register(shapes, "train", tiny("masks")))
    assert all("segmentation" in a for e in masked for a in e["annotations"])
    evaluated = MetadataCatalog.get(wsis.detectron2.register(shapes, "val", tiny()))
    assert read_json(Path(evaluated.json_file))["annotations"]
    with pytest.raises(WsisError, match="detectron2 has masks of all objects or of none"):
        wsis.detectron2.register(shapes, "train", tiny("masks-voc"))
    with pytest.raises(WsisError, match=r"split 'test': the recipe has train \(training\) and val"):
        wsis.detectron2.register(shapes, "test", tiny())


@pytest.mark.parametrize("supervision", ["boxes", "masks"])
def test_its_default_trainer_trains_boxinst(shapes, tmp_path, supervision, monkeypatch):
    from detectron2.engine import DefaultTrainer
    from detectron2.utils.events import JSONWriter

    writers = [JSONWriter(str(tmp_path / "metrics.json"))]  # without tensorboard, which need not be there
    monkeypatch.setattr(DefaultTrainer, "build_writers", lambda self: writers)

    recipe = tiny(supervision)
    cfg = wsis.detectron2.configuration(recipe, 3)
    cfg.DATASETS.TRAIN = (wsis.detectron2.register(shapes, "train", recipe),)
    cfg.DATASETS.TEST = ()
    cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR, cfg.MODEL.DEVICE = 0, str(tmp_path), "cpu"
    trainer = DefaultTrainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    after = trainer.model.state_dict()
    assert not torch.equal(before["method.head.controller.weight"], after["method.head.controller.weight"])
    assert after["method.iteration"] == 5, "all steps but the last are known to be over"
    log = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    names = {"loss_proj", "loss_pair"} if supervision == "boxes" else {"loss_dice"}
    assert names <= log[-1].keys() and np.isfinite(log[-1]["total_loss"])


def test_an_exported_run_predicts_as_the_run(shapes, tmp_path):
    from detectron2.data import MetadataCatalog
    from detectron2.engine import DefaultPredictor
    from detectron2.utils.visualizer import Visualizer

    recipe, folder = tiny(iterations=8, devices=1), tmp_path / "runs" / "run"
    places = (folder, shapes, None, None, None)
    execute(Job(recipe, "tiny", *places, True, False, (), (), ("coco",), "cpu", (0,), RunOptions()))
    cfg = wsis.detectron2.load(wsis.detectron2.export(folder, tmp_path / "out"))
    cfg.MODEL.DEVICE = "cpu"
    rgb = np.asarray(Image.open(next((shapes / "val").glob("*.*"))).convert("RGB"))
    model = Model(folder, "cpu")
    predictor = DefaultPredictor(cfg)
    predictor.model.method.recipe = model.method.recipe = recipe.model_copy(
        update={"predict": recipe.predict.model_copy(update={"score": 0.001})}
    )
    expected, found = model.predict(rgb), predictor(np.ascontiguousarray(rgb[:, :, ::-1]))["instances"]
    assert len(found) == len(expected) > 0
    np.testing.assert_allclose(found.scores.numpy(), expected.scores, atol=1e-5)
    np.testing.assert_array_equal(found.pred_masks.numpy(), expected.masks)
    np.testing.assert_array_equal(found.pred_classes.numpy(), expected.labels)
    metadata = MetadataCatalog.get(cfg.DATASETS.TEST[0])
    assert metadata.thing_classes == list(model.names)
    drawn = Visualizer(rgb, metadata).draw_instance_predictions(found).get_image()
    assert (drawn != rgb).any()


def test_what_it_can_not_train():
    with pytest.raises(WsisError, match="has sgd with steps, not adamw"):
        wsis.detectron2.configuration(tiny(optimizer="adamw"), 3)
