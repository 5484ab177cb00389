"""The project's detectors as a META_ARCHITECTURE of detectron2.

Shapes: B images, H x W padded input, h x w image.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from pycocotools import mask as rle
from torch import Tensor, nn

from wsis.data import structures
from wsis.data.structures import PADDING, Batch, Sample, Targets
from wsis.data.transforms import padded
from wsis.declare.recipe import Recipe
from wsis.engine.seeding import seed_of
from wsis.methods import build_method
from wsis.methods.weights import place_strides


@META_ARCH_REGISTRY.register()
class WsisMethod(nn.Module):
    """A method of `wsis` that learns from whole images with boxes, and masks where there are any.

    detectron2's trainers do not tell a model that a step of the optimiser is over: the next call does.
    """

    def __init__(self, cfg: CfgNode) -> None:
        super().__init__()
        recipe = Recipe.model_validate_json(cfg.WSIS.RECIPE[0])
        if cfg.MODEL.WEIGHTS:  # a whole network's: its backbone's first weights are not needed
            recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "none"})})
        self.method = build_method(recipe, cfg.WSIS.NUM_CLASSES)
        if cfg.WSIS.STRIDES:
            place_strides(self.method, json.loads(cfg.WSIS.STRIDES[0]))
        self.flips = cfg.INPUT.FORMAT == "BGR"
        self.former: int | None = None
        self.register_buffer("anywhere", torch.zeros(()), persistent=False)
        self.to(torch.device(cfg.MODEL.DEVICE))

    @property
    def device(self) -> torch.device:
        return self.anywhere.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Named losses in training, else "instances" of each image, as detectron2's models."""
        if not self.training:
            samples = [self._sample(each, i) for i, each in enumerate(batched_inputs)]
            found = self.method.predict(samples)
            return [{"instances": _instances(f, s.size)} for f, s in zip(found, samples, strict=True)]
        iteration = get_event_storage().iter
        if self.former is None:
            self.method.begin()
        elif iteration != self.former:
            self.method.on_step_end(self.former)
        self.former = iteration
        generator = torch.Generator().manual_seed(
            seed_of(self.method.recipe.seed, iteration, comm.get_rank())
        )
        return self.method.losses(self._batch(batched_inputs).to(self.device), generator)

    def _rgb(self, image: Tensor) -> Tensor:
        return image.flip(0) if self.flips else image

    def _sample(self, given: dict[str, Any], number: int) -> Sample:
        image = self._rgb(given["image"]).to(torch.uint8)
        size = (given.get("height", image.shape[1]), given.get("width", image.shape[2]))
        return Sample(image, size, number)

    def _batch(self, given: list[dict[str, Any]]) -> Batch:
        sizes = [tuple(each["image"].shape[1:]) for each in given]
        height, width = (padded(max(size[axis] for size in sizes)) for axis in (0, 1))
        images = torch.tensor(PADDING, dtype=torch.uint8)[:, None, None].repeat(len(given), 1, height, width)
        valid = torch.zeros(len(given), height, width, dtype=torch.bool)
        scales, targets = [], []
        for i, (each, (h, w)) in enumerate(zip(given, sizes, strict=True)):
            images[i, :, :h, :w], valid[i, :h, :w] = self._rgb(each["image"]), True
            scales.append(h / each["height"])
            targets.append(_targets(each["instances"], height, width))
        ids = [int(each.get("image_id", i)) for i, each in enumerate(given)]
        return Batch(images, valid, torch.tensor(scales), targets, ids, sizes)


def _targets(given: Instances, height: int, width: int) -> Targets:
    """Theirs of an image, with masks padded to the batch's size where they have masks."""
    masks = None
    if given.has("gt_masks"):
        masks = torch.zeros(len(given), height, width, dtype=torch.bool)
        masks[:, : given.image_size[0], : given.image_size[1]] = given.gt_masks.tensor
    return Targets(given.gt_boxes.tensor.float(), given.gt_classes.long(), masks)


def _instances(found: structures.Instances, size: tuple[int, int]) -> Instances:
    """Predictions of an image of (height, width), with whole masks."""
    masks = np.zeros((0, *size), bool)
    if found.masks:
        masks = rle.decode(found.masks).transpose(2, 0, 1).astype(bool)
    return Instances(
        size,
        pred_boxes=Boxes(found.boxes),
        scores=found.scores,
        pred_classes=found.labels,
        pred_masks=torch.from_numpy(np.ascontiguousarray(masks)),
    )
