"""Mask R-CNN of detectron2's model zoo, with ResNets of MSRA, which expect BGR pixels."""

from __future__ import annotations

import torch

from wsis.methods.checkpoints import Config, Source, State, detectron2_resnet, renamed, resnet_rules

BODY = resnet_rules("backbone.body")
RULES = [
    *((rf"backbone\.fpn_lateral{2 + i}\.(.+)", rf"backbone.fpn.inner_blocks.{i}.0.\1") for i in range(4)),
    *((rf"backbone\.fpn_output{2 + i}\.(.+)", rf"backbone.fpn.layer_blocks.{i}.0.\1") for i in range(4)),
    (r"proposal_generator\.rpn_head\.conv\.(.+)", r"rpn.head.conv.0.0.\1"),
    (r"proposal_generator\.rpn_head\.objectness_logits\.(.+)", r"rpn.head.cls_logits.\1"),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.(.+)", r"rpn.head.bbox_pred.\1"),
    *((rf"roi_heads\.box_head\.fc{i}\.(.+)", rf"roi_heads.box_head.fc{5 + i}.\1") for i in (1, 2)),
    (r"roi_heads\.box_predictor\.(.+)", r"roi_heads.box_predictor.\1"),
    *((rf"roi_heads\.mask_head\.mask_fcn{1 + i}\.(.+)", rf"roi_heads.mask_head.{i}.0.\1") for i in range(4)),
    (r"roi_heads\.mask_head\.deconv\.(.+)", r"roi_heads.mask_predictor.conv5_mask.\1"),
    (r"roi_heads\.mask_head\.predictor\.(.+)", r"roi_heads.mask_predictor.mask_fcn_logits.\1"),
]
IGNORED = [r"proposal_generator\.anchor_generator\..+", r"pixel_(mean|std)"]
CLASSES, BOXES = "roi_heads.box_predictor.cls_score.", "roi_heads.box_predictor.bbox_pred."
MASKS = "roi_heads.mask_predictor.mask_fcn_logits."


def from_detectron2(state: State) -> State:
    """detectron2's tensors -> ours. Background is its last class and our first, without box and mask."""
    body, rest = detectron2_resnet(state)
    result = renamed(body, BODY) | renamed(rest, RULES, IGNORED)
    for kind in ("weight", "bias"):
        result[CLASSES + kind] = result[CLASSES + kind].roll(1, 0)
        for name, rows in ((BOXES, 4), (MASKS, 1)):
            known = result[name + kind]
            result[name + kind] = torch.cat([known.new_zeros(rows, *known.shape[1:]), known])
    return result


ONCE = {"schedule.length": 1.0, "schedule.milestones": [60000, 80000]}
CONFIGS = {
    f"COCO-InstanceSegmentation/mask_rcnn_R_{depth}_FPN_{length}x": Config(
        f"boxinst/mask-rcnn-r{depth}-3x",
        {"model.details": "official", "model.provider": "torchvision"} | keys,
    )
    for depth, length, keys in ((50, 3, {}), (101, 3, {}), (50, 1, ONCE))
}
SIGN = "proposal_generator.rpn_head.objectness_logits.weight"
SOURCES = (Source("detectron2", SIGN, from_detectron2, CONFIGS, True),)
