"""Methods that give a mask to every annotated box: their samples, and a face like that of detectors.

n boxes of an image of h x w pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wsis.data import transforms
from wsis.data.loading import image_tensor
from wsis.data.roots import Picture, Root
from wsis.data.shared import samples_key, shared_samples
from wsis.data.structures import BoxSample, Instances
from wsis.errors import WsisError
from wsis.methods.base import Method


@dataclass
class BoxMask:
    """The mask made for one box. rle: compressed, of the image's size; certainty: mean |2p - 1|, 0 to 1."""

    rle: dict
    certainty: float


class BoxFiller(Method):
    """Base class: override `fill`. A prediction's score is its mask's certainty."""

    def fill(self, samples: Sequence[BoxSample]) -> list[list[BoxMask]]:
        """A mask for each box of each sample, in their order; the network is in evaluation mode."""
        raise NotImplementedError

    def samples(self, root: Root, rank: int = 0, world: int = 1) -> Iterator[BoxSample]:
        return object_samples(root.eval, rank, world)

    def training_samples(self, root: Root, pictures: Sequence[Picture]) -> Iterator[BoxSample]:
        return shared_samples(
            samples_key(self.recipe, root, self.recipe.data.train), object_samples(pictures)
        )

    def image_sample(self, image: np.ndarray, id: int) -> BoxSample:
        raise WsisError(f"method '{self.recipe.method}' fills boxes with masks: give it boxes of each image")

    def box_sample(self, image: np.ndarray, id: int, boxes: np.ndarray, labels: np.ndarray) -> BoxSample:
        """The boxes are numbered from 1."""
        ids = list(range(1, len(boxes) + 1))
        return BoxSample(image_tensor(image), torch.from_numpy(boxes), torch.from_numpy(labels), ids, id)

    def predict(self, samples: Sequence[BoxSample]) -> list[Instances]:
        return [
            Instances(
                sample.boxes,
                sample.labels,
                torch.tensor([mask.certainty for mask in masks]),
                [mask.rle for mask in masks],
                sample.annotation_ids,
            )
            for sample, masks in zip(samples, self.fill(samples), strict=True)
        ]


def object_samples(pictures: Iterable[Picture], rank: int = 0, world: int = 1) -> Iterator[BoxSample]:
    """Every world-th picture from the rank-th on, with its boxes but not its crowd regions, in order."""
    for picture in list(pictures)[rank::world]:
        image = transforms.read_image(picture.path, picture.height, picture.width)
        objects = [instance for instance in picture.instances if not instance.crowd]
        boxes = np.array([instance.box for instance in objects], np.float32).reshape(-1, 4)
        labels = torch.tensor([instance.label for instance in objects], dtype=torch.int64)
        ids = [instance.id for instance in objects]
        yield BoxSample(image_tensor(image), torch.from_numpy(boxes), labels, ids, picture.id)
