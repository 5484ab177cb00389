"""Mask R-CNN as detectron2 builds, trains and runs it (`model.provider: detectron2`).

Its input is RGB and divided by a deviation, as ours; first weights that expect BGR are turned when read.
Shapes: B images, N objects of an image, H x W network input.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model, detector_postprocess
from detectron2.modeling.roi_heads import select_foreground_proposals
from detectron2.modeling.roi_heads.mask_head import mask_rcnn_loss
from detectron2.structures import BitMasks, Boxes, ImageList
from detectron2.structures import Instances as Objects
from detectron2.utils.events import EventStorage
from torch import Tensor

from wsis.data.structures import Batch, Instances, Sample, Targets, fetched, sent
from wsis.declare.provider import DEPTHS
from wsis.declare.recipe import Recipe
from wsis.errors import WsisError
from wsis.methods.base import Method
from wsis.methods.boxed import boxed_masks
from wsis.methods.encode import compressed
from wsis.methods.mask_rcnn.method import draws_from
from wsis.nn.backbones import MEAN, STD
from wsis.nn.weights import first_weights, torchvision_name

LOSSES = {"loss_rpn_loc": "loss_rpn_box", "loss_box_reg": "loss_box"}  # their name -> that of `MaskRCNN`


class Detectron2MaskRCNN(Method):
    """detectron2's GeneralizedRCNN as its zoo has it, trained on the masks that there are."""

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe)
        if recipe.model.trained != "all":
            raise WsisError(f"model.trained '{recipe.model.trained}': needs model.provider torchvision")
        weights = first_weights(recipe.model)
        self.num_classes = num_classes
        self.network = build_model(configuration(recipe, num_classes, bool(weights and weights.caffe)))
        if weights:
            body = self.network.backbone.bottom_up
            body.load_state_dict({name: weights.state[torchvision_name(name)] for name in body.state_dict()})

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """loss_rpn_cls, loss_rpn_box, loss_cls, loss_box, loss_mask; the last is 0 without any mask."""
        images, device = ImageList(self._normalised(batch.images), batch.sizes), batch.images.device
        targets = [
            _objects(target, size, device) for target, size in zip(batch.targets, batch.sizes, strict=True)
        ]
        network, heads = self.network, self.network.roi_heads
        features = network.backbone(images.tensor)
        with EventStorage(), draws_from(generator, device):
            proposals, losses = network.proposal_generator(images, features, targets)
            sampled = heads.label_and_sample_proposals(proposals, targets)
            losses |= heads._forward_box(features, sampled)
            losses["loss_mask"] = self._mask_loss(features, sampled)
        return {LOSSES.get(name, name): loss for name, loss in losses.items()}

    def _mask_loss(self, features: dict[str, Tensor], sampled: list[Objects]) -> Tensor:
        """detectron2's mask loss of the sampled regions whose object has a mask."""
        heads = self.network.roi_heads
        regions, _ = select_foreground_proposals(sampled, self.num_classes)
        regions = [each[each.gt_has_mask] for each in regions]
        levels = [features[name] for name in heads.mask_in_features]
        pooled = heads.mask_pooler(levels, [each.proposal_boxes for each in regions])
        return mask_rcnn_loss(heads.mask_head.layers(pooled), regions)

    @torch.no_grad()
    def predict(self, samples: Sequence[Sample]) -> list[Instances]:
        """Instances of each image, best first, in the frame of the original image."""
        inputs = [{"image": sample.image} for sample in samples]
        found = self.network.inference(inputs, do_postprocess=False)
        return [self._original(each, sample) for each, sample in zip(found, samples, strict=True)]

    def _original(self, found: Objects, sample: Sample) -> Instances:
        found = detector_postprocess(found, *sample.size)
        boxes = found.pred_boxes.tensor
        boxes, labels, scores = fetched(boxes, found.pred_classes, found.scores)
        kind = self.recipe.predict.masks
        masks = compressed(found.pred_masks) if kind == "predicted" else boxed_masks(kind, boxes, sample)
        return Instances(boxes, labels, scores, masks)

    def _normalised(self, images: Tensor) -> Tensor:
        return (images.float() - self.network.pixel_mean) / self.network.pixel_std


def configuration(recipe: Recipe, num_classes: int, caffe: bool) -> CfgNode:
    """detectron2's configuration of a recipe: ResNet-FPN with two fully connected layers and four of masks.

    caffe: each stage's stride is in its first 1x1 convolution.
    """
    model, spec = recipe.model, recipe.predict
    cfg = get_cfg()
    stages, levels = ["res2", "res3", "res4", "res5"], ["p2", "p3", "p4", "p5"]
    cfg.merge_from_list([
        "MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.DEVICE", "cpu", "MODEL.MASK_ON", True,
        "MODEL.PIXEL_MEAN", MEAN, "MODEL.PIXEL_STD", STD, "INPUT.FORMAT", "RGB",
        "MODEL.BACKBONE.NAME", "build_resnet_fpn_backbone",
        "MODEL.BACKBONE.FREEZE_AT", 2 if model.norm == "frozen" else 0,
        "MODEL.RESNETS.DEPTH", DEPTHS[model.backbone], "MODEL.RESNETS.OUT_FEATURES", stages,
        "MODEL.RESNETS.NORM", {"frozen": "FrozenBN", "batch": "BN"}[model.norm],
        "MODEL.RESNETS.STRIDE_IN_1X1", caffe,
        "MODEL.FPN.IN_FEATURES", stages, "MODEL.FPN.OUT_CHANNELS", model.channels,
        "MODEL.ANCHOR_GENERATOR.SIZES", [[32], [64], [128], [256], [512]],
        "MODEL.RPN.IN_FEATURES", [*levels, "p6"], "MODEL.RPN.PRE_NMS_TOPK_TRAIN", 2000,
        "MODEL.RPN.PRE_NMS_TOPK_TEST", spec.pre_nms, "MODEL.RPN.POST_NMS_TOPK_TRAIN", 1000,
        "MODEL.RPN.POST_NMS_TOPK_TEST", 1000,
        "MODEL.ROI_HEADS.NAME", "StandardROIHeads", "MODEL.ROI_HEADS.IN_FEATURES", levels,
        "MODEL.ROI_HEADS.NUM_CLASSES", num_classes, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", spec.score,
        "MODEL.ROI_HEADS.NMS_THRESH_TEST", spec.nms, "TEST.DETECTIONS_PER_IMAGE", spec.detections,
        "MODEL.ROI_BOX_HEAD.NAME", "FastRCNNConvFCHead", "MODEL.ROI_BOX_HEAD.NUM_FC", 2,
        "MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION", 7,
        "MODEL.ROI_MASK_HEAD.NAME", "MaskRCNNConvUpsampleHead", "MODEL.ROI_MASK_HEAD.NUM_CONV", 4,
        "MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION", 14,
    ])  # fmt: skip
    return cfg


def _objects(target: Targets, size: tuple[int, int], device: torch.device) -> Objects:
    """Their targets of an image of (height, width); objects without a mask have an empty one."""
    masks = target.masks
    if masks is None:
        masks = torch.zeros(len(target.boxes), *size, dtype=torch.bool, device=device)
    return Objects(
        size,
        gt_boxes=Boxes(sent(target.boxes, device)),
        gt_classes=sent(target.labels, device),
        gt_masks=BitMasks(masks),
        gt_has_mask=sent(target.masked, device),
    )
