"""Images of several samples as one input of a network that takes whole images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsis.data.structures import PADDING, Sample, sent
from wsis.data.transforms import padded
from wsis.nn.frozen import Size


def padded_images(samples: Sequence[Sample], device: torch.device) -> Tensor:
    """The samples' images padded to a common size, B x 3 x H x W uint8."""
    height = padded(max(s.image.shape[1] for s in samples))
    width = padded(max(s.image.shape[2] for s in samples))
    padding = sent(torch.tensor(PADDING, dtype=torch.uint8), device)
    images = padding[:, None, None].repeat(len(samples), 1, height, width)
    for slot, sample in zip(images, samples, strict=True):
        slot[:, : sample.image.shape[1], : sample.image.shape[2]] = sent(sample.image, device)
    return images


def sizes_of(samples: Sequence[Sample]) -> list[Size]:
    """(h, w) of each image as the network gets it, without padding."""
    return [tuple(sample.image.shape[1:]) for sample in samples]
