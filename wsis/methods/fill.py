"""Masks of given boxes: the boxes' samples, and a base of methods that do nothing else.

n boxes of an image of h x w pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torchvision.ops import box_iou

from wsis.data import transforms
from wsis.data.annotations import Picture
from wsis.data.loading import image_sample, image_tensor
from wsis.data.roots import Root
from wsis.data.shared import samples_key, shared_samples
from wsis.data.structures import BoxMask, BoxSample, Instances, Sample
from wsis.declare.specs.data import DataSpec
from wsis.errors import WsisError
from wsis.losses.projection import grid_rectangles, shadows
from wsis.methods.base import Method


class BoxFiller(Method):
    """Base class: override `fill`. A prediction's score is its mask's certainty."""

    def samples(self, root: Root, rank: int = 0, world: int = 1) -> Iterator[BoxSample]:
        return object_samples(root.eval, rank, world)

    def training_samples(self, root: Root, pictures: Sequence[Picture]) -> Iterator[BoxSample]:
        return shared_samples(
            samples_key(self.recipe, root, self.recipe.data.train), object_samples(pictures)
        )

    def image_sample(self, image: np.ndarray, id: int) -> BoxSample:
        raise WsisError(f"method '{self.recipe.method}' fills boxes with masks: give it boxes of each image")

    def predict(self, samples: Sequence[BoxSample]) -> list[Instances]:
        return filled(self, samples)


def filled(method: Method, samples: Sequence[BoxSample]) -> list[Instances]:
    """The masks of each sample's boxes, in their order.

    The class of a box is the one given with it, else the one that the network sees, else the first.
    """
    return [_instances(*each) for each in zip(samples, method.fill(samples), strict=True)]


def _instances(sample: BoxSample, masks: Sequence[BoxMask]) -> Instances:
    seen = torch.tensor([mask.label or 0 for mask in masks], dtype=torch.int64)
    return Instances(
        sample.boxes,
        torch.where(sample.labels < 0, seen, sample.labels),
        torch.tensor([mask.certainty for mask in masks]),
        [mask.rle for mask in masks],
        sample.annotation_ids,
    )


def resized(given: BoxSample, data: DataSpec) -> tuple[Sample, Tensor]:
    """A sample's image as a detector's `predict` takes it, and the boxes in its frame, n x 4."""
    sample = image_sample(data, given.image.permute(1, 2, 0).cpu().numpy(), given.id)
    (height, width), (h, w) = sample.size, sample.image.shape[1:]
    return sample, given.boxes * given.boxes.new_tensor([w / width, h / height] * 2)


def overlapping(sample: BoxSample, found: Instances) -> list[BoxMask]:
    """For each box of a sample, the instance found in its image whose box overlaps it most, cut to the box.

    The mask is empty where none does. Certainty is the instance's score.
    """
    size = sample.image.shape[1:]
    overlaps = box_iou(sample.boxes, found.boxes.to(sample.boxes))
    masks = []
    for row in overlaps:
        best = int(row.argmax()) if len(row) and row.max() > 0 else None
        if best is None:
            masks.append(BoxMask(rle.encode(np.zeros(size, np.uint8, order="F")), 0.0))
        else:
            masks.append(BoxMask(found.masks[best], float(found.scores[best]), int(found.labels[best])))
    cut = cut_to_boxes([mask.rle for mask in masks], sample.boxes, size)
    return [replace(mask, rle=part) for mask, part in zip(masks, cut, strict=True)]


def cut_to_boxes(masks: Sequence[dict], boxes: Tensor, size: tuple[int, int]) -> list[dict]:
    """Masks (n compressed RLE) without what lies outside their boxes (n x 4 xyxy pixels); size: (h, w)."""
    if not masks:
        return []
    limits = boxes.new_tensor([size[1], size[0]])
    low, high = (corner.clamp(boxes.new_zeros(2), limits) for corner in (boxes[:, :2], boxes[:, 2:]))
    xywh = torch.cat([low, (high - low).clamp(min=0)], 1)
    rectangles = rle.frPyObjects(xywh.double().cpu().numpy(), *size)
    return [rle.merge([*pair], intersect=True) for pair in zip(masks, rectangles, strict=True)]


def object_samples(pictures: Sequence[Picture], rank: int = 0, world: int = 1) -> Iterator[BoxSample]:
    """Every world-th picture from the rank-th on, with its boxes but not its crowd regions, in order."""
    for picture in pictures[rank::world]:
        image = transforms.read_image(picture.path, picture.height, picture.width)
        objects = [instance for instance in picture.instances if not instance.crowd]
        boxes = np.array([instance.box for instance in objects], np.float32).reshape(-1, 4)
        labels = torch.tensor([instance.label for instance in objects], dtype=torch.int64)
        ids = [instance.id for instance in objects]
        yield BoxSample(image_tensor(image), torch.from_numpy(boxes), labels, ids, picture.id)


def certainties(logits: Tensor, boxes: Tensor, stride: int) -> Tensor:
    """Mean |2p - 1| over the cells of each box: n x H/s x W/s logits, n x 4 boxes of the input -> n float."""
    on_x, on_y = shadows(grid_rectangles(boxes, stride, *logits.shape[1:]), *logits.shape[1:])
    inside = on_y[:, :, None] & on_x[:, None]
    certain = (2 * logits.float().sigmoid() - 1).abs() * inside
    return certain.sum((1, 2)) / inside.sum((1, 2)).clamp(min=1)
