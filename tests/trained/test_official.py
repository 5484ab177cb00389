"""`wsis import`: an official file becomes a finished run, which predicts, evaluates and fills cells."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.methods.official import imported, shaken, shapes
from wsis.engine.folder import finished
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.plan import make_plan
from wsis.report.build import build_report
from wsis.trained.model import Model
from wsis.trained.official import import_checkpoint

SMALL = {"data.eval_short_side": 64, "data.max_side": 96}
NAMES = "boxinst/adelaidet_r50.txt"


class Official(torch.nn.Module):
    """Whatever network has these tensors."""

    def __init__(self, shapes: dict[str, list[int]]) -> None:
        super().__init__()
        self.tensors = {
            name: torch.zeros(shape) if shape else torch.zeros((), dtype=torch.int64)
            for name, shape in shapes.items()
        }

    def state_dict(self):
        return self.tensors


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file with the tensors of AdelaiDet's BoxInst, which detects something."""
    state = shaken(Official(shapes(NAMES))).state_dict()
    state["mask_head.sizes_of_interest"] = torch.tensor([64, 128, 256, 512, 1024])
    state["mask_head._iter"] = torch.tensor([90000.0])
    state["backbone.bottom_up.stem.conv1.weight"] /= 50
    state["proposal_generator.fcos_head.cls_logits.bias"] -= 1
    path = tmp_path_factory.mktemp("official") / "BoxInst_MS_R_50_1x.pth"
    torch.save({"model": state, "iteration": 89999, "optimizer": {"state": {}}}, path)
    return SimpleNamespace(path=path, state=state)


@pytest.fixture
def coco(tmp_path):
    """A COCO root with the 80 classes and three images a split."""
    from wsis.trained.official import _known_classes

    classes = _known_classes(SimpleNamespace(data=SimpleNamespace(dataset="coco")))
    named = zip(classes.category_ids, classes.category_names, strict=True)
    categories = [{"id": id, "name": name} for id, name in named]
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 48, "width": 64} for i in (1, 2, 3)]
    box = {"bbox": [8, 8, 24, 24], "area": 576, "segmentation": [[8, 8, 32, 8, 32, 32, 8, 32]], "iscrowd": 0}
    objects = [{"id": i, "image_id": i, "category_id": 90, **box} for i in (1, 2, 3)]
    content = {"images": images, "categories": categories, "annotations": objects}
    (tmp_path / "coco/annotations").mkdir(parents=True)
    for split in ("train2017", "val2017"):
        (tmp_path / "coco" / split).mkdir()
        (tmp_path / f"coco/annotations/instances_{split}.json").write_text(json.dumps(content))
        for i in (1, 2, 3):
            noise = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((64, 48)).save(tmp_path / "coco" / split / f"{i}.jpg")
    return tmp_path / "coco"


def test_a_checkpoint_fills_the_cells_of_its_rows(checkpoint, coco, tmp_path):
    run = import_checkpoint(checkpoint.path, "boxinst", None, SMALL, tmp_path / "results", coco, "cpu")
    assert ("boxinst/3", "projection + pairwise") in run.rows and run.config == "BoxInst/MS_R_50_1x"
    plan = make_plan("paper", overrides=run.settings)
    recipe = plan.runs[run.folder.name].recipe
    assert finished(run.folder, recipe), "no training would replace it"
    metrics = read_json(run.folder / "metrics.json")
    assert metrics["images"] == 3 and metrics["detections"] > 0
    report = build_report(plan, tmp_path / "results")
    table = next(result for result in report.tables if result.table.key == "boxinst/3")
    cell = table.cells["projection + pairwise", "AP"]
    assert cell.values == {0: metrics["metrics"]["AP"]} and cell.source == "official checkpoint"
    assert table.cells["projection", "AP"].source is None
    assert any("official checkpoint BoxInst_MS_R_50_1x.pth" in text for text in table.deviations)
    card = (run.folder / "README.md").read_text()
    assert (
        "trained by its authors" in card
        and read_json(run.folder / "train.json")["checkpoint"]["sha256"] in card
    )

    image = np.asarray(Image.open(coco / "val2017" / "1.jpg"))
    network = imported("boxinst", "BoxInst/MS_R_50_1x", checkpoint.state)
    scene = torch.from_numpy(image.transpose(2, 0, 1).copy())[None, :, :32, :64]
    loaded = Model(run.folder, "cpu")
    assert loaded.method.pyramid.body.c3[0].conv1.stride == (2, 2)
    with torch.no_grad():
        logits = [each.detect(scene).outputs["logits"] for each in (network, loaded.method)]
    assert torch.equal(*logits)
    assert len(loaded.predict(image)) == len(
        [e for e in read_json(run.folder / "predictions.json") if e["image_id"] == 1]
    )


def test_without_data_it_is_a_model_that_no_training_replaces(checkpoint, tmp_path):
    run = import_checkpoint(
        checkpoint.path, "boxinst", "BoxInst/MS_R_50_1x.yaml", SMALL, tmp_path, None, "cpu"
    )
    model = Model(run.folder, "cpu")
    assert len(model.names) == 80 and model.categories[90] == "toothbrush"
    assert len(model.predict(np.zeros((48, 64, 3), np.uint8))) >= 0
    recipe = make_plan("paper", overrides=run.settings).runs[run.folder.name].recipe
    assert finished(run.folder, recipe, predicts=False)
    with pytest.raises(WsisError, match="official checkpoint without predictions: import it again with"):
        finished(run.folder, recipe)


def test_complaints(checkpoint, tmp_path):
    def complaint(file=checkpoint.path, method="boxinst", config=None, **settings):
        with pytest.raises(WsisError) as error:
            import_checkpoint(file, method, config, settings, tmp_path, None, "cpu")
        return str(error.value)

    other = tmp_path / "model_final.pth"
    other.symlink_to(checkpoint.path)
    assert "of which configuration of AdelaiDet? Give --config (BoxInst/MS_R_50_1x, " in complaint(other)
    assert "AdelaiDet has BoxInst/MS_R_50_3x" in complaint(config="BoxInst/MS_R_50_2x")
    text = complaint(config="BoxInst/MS_R_101_1x")
    assert "does not fit the recipe's network: no pyramid.body.c4." in text
    assert "is 233x256x3x3 there, 593x256x3x3 here" in complaint(**{"model.head_channels": 16})
    evil = tmp_path / "MS_R_50_1x.pkl"
    evil.write_bytes(pickle.dumps({"model": print}))
    assert "it would run builtins.print" in complaint(evil)
