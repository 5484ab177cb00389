"""What instances are extracted from: an image's boundary map and its semantic map, at original size.

Shapes: h x w original image, H x W network input.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsis.data.transforms import padded
from wsis.errors import WsisError
from wsis.methods.baiseg.boundary_loss import contours
from wsis.methods.baiseg.extract.gradient import colour_gradient


@dataclass
class Maps:
    """The maps of one image.

    image:     h x w x 3 uint8
    boundary:  h x w float32 in [0, 1], None for `boundary: none`
    semantic:  h x w uint8: 0 background, label + 1, 255 void
    certainty: h x w float32, the semantic class's probability; 1 where the semantic map is given
    """

    image: np.ndarray
    boundary: np.ndarray | None
    semantic: np.ndarray
    certainty: np.ndarray


def boundary_of(kind: str, image: np.ndarray, instances: np.ndarray | None) -> np.ndarray | None:
    """The boundary map of a control that needs no network: colour gradient, true contours; else None.

    instances: h x w int16 map of the objects, for kind "truth".
    """
    if kind == "truth":
        if instances is None:
            raise WsisError("baiseg.boundary 'truth' needs annotated objects: it is for evaluation only")
        edge, _ = contours(torch.from_numpy(instances)[None], void=-1)
        return edge[0].numpy().astype(np.float32)
    return colour_gradient(image) if kind == "gradient" else None


def network_input(image: Tensor) -> Tensor:
    """3 x h x w uint8 at original resolution (Sec. 4.2), stretched to the next multiples of 32."""
    height, width = map(padded, image.shape[-2:])
    if (height, width) == tuple(image.shape[-2:]):
        return image
    stretched = F.interpolate(image[None].float(), size=(height, width), mode="bilinear", align_corners=False)
    return stretched[0]
