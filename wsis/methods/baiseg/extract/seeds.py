"""Label maps before the watershed: components of the pixels that are no boundary.

Shapes: h x w pixels of an image. Pixels are joined through their four neighbours. Label 0 is unlabelled.
"""

from __future__ import annotations

import cv2
import numpy as np
from skimage.measure import label

from wsis.data.voc import VOID


def literal_seeds(free: np.ndarray) -> np.ndarray:
    """Every component of the free pixels, whatever its class and size: h x w bool -> h x w int32."""
    return cv2.connectedComponents(free.view(np.uint8), connectivity=4, ltype=cv2.CV_32S)[1]


def semantic_seeds(free: np.ndarray, semantic: np.ndarray, min_area: int, background: bool) -> np.ndarray:
    """Components of the free pixels of one semantic class at a time.

    Args:
        free: h x w bool
        semantic: h x w uint8; pixels of no class (VOID) belong to no component
        min_area: pixels a class's component must have
        background: the background has components as well, of any size

    Returns:
        h x w int32.
    """
    values = np.where(free & (semantic != VOID), semantic.astype(np.int16) + 1, 0)
    if not background:
        values[values == 1] = 0
    components, number = label(values, background=0, connectivity=1, return_num=True)
    areas = np.bincount(components.ravel(), minlength=number + 1)
    classes = np.zeros(number + 1, np.int16)
    classes[components.ravel()] = values.ravel()
    keep = (areas >= min_area) | (classes == 1)
    keep[0] = False
    return np.where(keep, np.cumsum(keep), 0).astype(np.int32)[components]
