"""Mask R-CNN of its zoo, read by us, predicts what detectron2 predicts; skipped where it is not installed."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.official import shaken, shapes
from wsis.data.structures import Sample
from wsis.trained.model import Model
from wsis.trained.official import import_checkpoint

pytest.importorskip("detectron2", reason="detectron2 is not installed: make detectron2 SOURCE=path")
CONFIG = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"


@pytest.fixture(scope="module")
def theirs():
    """The zoo's model with random weights, under which it detects something."""
    from detectron2 import model_zoo
    from detectron2.modeling import build_model

    cfg = model_zoo.get_config(CONFIG)
    cfg.MODEL.DEVICE = "cpu"
    model = shaken(build_model(cfg))
    with torch.no_grad():
        model.backbone.bottom_up.stem.conv1.weight /= 50
        model.roi_heads.box_predictor.cls_score.weight *= 8
        model.roi_heads.box_predictor.bbox_pred.weight *= 4
        model.proposal_generator.rpn_head.objectness_logits.weight *= 5
        model.roi_heads.mask_head.predictor.weight *= 5
    return model


def test_the_list_of_names_is_its_own(theirs):
    own = {name: list(value.shape) for name, value in theirs.state_dict().items()}
    assert own == shapes("mask_rcnn/detectron2_r50.txt")


def test_outputs_are_equal(theirs, tmp_path):
    """A zoo file is a pickle of arrays. The image's sides need no padding, which has another colour here."""
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    (tmp_path / "model_final.pkl").write_bytes(
        pickle.dumps({"model": state, "__author__": "Detectron2 Model Zoo"})
    )
    run = import_checkpoint(tmp_path / "model_final.pkl", "mask_rcnn", CONFIG, {}, tmp_path, None, "cpu")
    network = Model(run.folder, "cpu").method
    draws = torch.Generator().manual_seed(1)
    small = torch.rand(1, 3, 12, 16, generator=draws) * 255
    image = F.interpolate(small, (192, 256), mode="bicubic").clamp(0, 255)[0].byte()
    with torch.no_grad():
        inputs = {"image": image.flip(0), "height": 300, "width": 411}
        expected = theirs([inputs])[0]["instances"]
        features = theirs.backbone(theirs.preprocess_image([inputs]).tensor)
        for level, found in zip(features.values(), network.backbone(image[None]).values(), strict=True):
            torch.testing.assert_close(found, level, rtol=1e-4, atol=1e-4)
        found = network.predict([Sample(image, (300, 411), 1)])[0]
    assert len(found.boxes) == len(expected) > 5
    torch.testing.assert_close(found.boxes, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.labels, expected.pred_classes)
    masks = np.ascontiguousarray(rle.decode(found.masks).transpose(2, 0, 1)).astype(bool)
    theirs_masks = expected.pred_masks.numpy()
    assert (masks != theirs_masks).mean() < 1e-5 and theirs_masks.any((1, 2)).sum() > 5
