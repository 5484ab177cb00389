"""AdelaiDet's BoxInst and CondInst with random weights give what ours give; skipped where it is not built."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocotools import mask as rle

from tests.methods.official import imported, shaken, shapes
from wsis.data.structures import Sample

REASON = "AdelaiDet is not built: its source on PYTHONPATH, beside detectron2"
FEATURES = ["res3", "res4", "res5"]
SIZE = (300, 411)


def official(boxinst: bool) -> torch.nn.Module:
    """Their R-50 network with random weights, under which it detects something."""
    pytest.importorskip("adet.modeling", reason=REASON, exc_type=ImportError)
    from adet.config import get_cfg
    from detectron2.modeling import build_model

    cfg = get_cfg()
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "CondInst", "MODEL.MASK_ON", True, "MODEL.DEVICE", "cpu",
        "MODEL.BACKBONE.NAME", "build_fcos_resnet_fpn_backbone", "MODEL.PROPOSAL_GENERATOR.NAME", "FCOS",
        "MODEL.RESNETS.OUT_FEATURES", FEATURES, "MODEL.FPN.IN_FEATURES", FEATURES,
        "MODEL.FCOS.THRESH_WITH_CTR", True, "MODEL.FCOS.USE_SCALE", True, "MODEL.BOXINST.ENABLED", boxinst,
        "MODEL.CONDINST.MASK_BRANCH.OUT_CHANNELS", 16 if boxinst else 8,
    ])  # fmt: skip
    model = shaken(build_model(cfg))
    with torch.no_grad():
        model.mask_head.sizes_of_interest.copy_(torch.tensor([64, 128, 256, 512, 1024]))
        model.backbone.bottom_up.stem.conv1.weight /= 50
        head = model.proposal_generator.fcos_head
        head.cls_logits.bias -= 6
        head.cls_logits.weight *= 3
        head.bbox_pred.bias += 3
    return model


@pytest.mark.parametrize("method", ["boxinst", "condinst"])
def test_outputs_are_equal(method):
    """The image's sides need no padding, which has another colour here."""
    theirs = official(method == "boxinst")
    if method == "boxinst":
        own = {name: list(value.shape) for name, value in theirs.state_dict().items()}
        assert own == shapes("boxinst/adelaidet_r50.txt")
    config = {"boxinst": "BoxInst", "condinst": "CondInst"}[method] + "/MS_R_50_1x"
    ours = imported(method, config, theirs.state_dict())
    draws = torch.Generator().manual_seed(1)
    image = F.interpolate(torch.rand(1, 3, 16, 24, generator=draws) * 255, (128, 192), mode="bicubic")
    image = image.clamp(0, 255)[0].byte()
    with torch.no_grad():
        levels = theirs.backbone(theirs.normalizer(image.flip(0).float())[None])
        scene = ours.detect(image[None])
        for name, level in levels.items():
            torch.testing.assert_close(scene.pyramid[name], level, rtol=1e-4, atol=1e-4)
        masks, _ = theirs.mask_branch(levels)
        torch.testing.assert_close(ours.mask_branch(scene.pyramid), masks, rtol=1e-4, atol=1e-4)
        outputs = theirs.proposal_generator.forward_head(levels, theirs.controller)
        logits, boxes, centerness, parameters = (
            torch.cat([level.flatten(2).transpose(1, 2) for level in output], 1) for output in outputs[:4]
        )
        where = torch.arange(len(scene.points))
        weights = ours.head.controller(scene.outputs["tower"], torch.zeros_like(where), scene.around[where])
        for found, expected in (
            (scene.outputs["logits"], logits),
            (scene.outputs["boxes"], boxes),
            (scene.outputs["centerness"][..., None], centerness),
            (weights[None], parameters),
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        inputs = {"image": image.flip(0), "height": SIZE[0], "width": SIZE[1]}
        expected = theirs([inputs])[0]["instances"]
        found = ours.predict([Sample(image, SIZE, 1)])[0]
    assert len(found.boxes) == len(expected) > 5
    torch.testing.assert_close(found.boxes, expected.pred_boxes.tensor, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
    assert torch.equal(found.labels, expected.pred_classes)
    pixels = np.ascontiguousarray(rle.decode(found.masks).transpose(2, 0, 1)).astype(bool)
    assert (pixels != (expected.pred_masks > 0.5).numpy()).mean() < 1e-5 and pixels.any() and not pixels.all()
