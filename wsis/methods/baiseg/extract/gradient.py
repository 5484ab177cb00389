"""Gradients of an image: the boundary map of the control without a network, and a relief to flood.

Shapes: h x w pixels of an image, RGB in 0..255.
"""

from __future__ import annotations

import cv2
import numpy as np

FULL = 50.0  # Lab units a pixel: a step from black to white, as central differences see it


def colour_gradient(image: np.ndarray) -> np.ndarray:
    """A boundary map without learning: length of the Sobel gradient over the three Lab channels.

    Divided by the constant FULL and clipped, so that a value means the same in every image.

    Args:
        image: h x w x 3 uint8 RGB

    Returns:
        h x w float32 in [0, 1].
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    # An eighth: Sobel's kernel then gives the change a pixel.
    along_x = cv2.Sobel(lab, cv2.CV_32F, 1, 0, scale=1 / (8 * FULL))
    along_y = cv2.Sobel(lab, cv2.CV_32F, 0, 1, scale=1 / (8 * FULL))
    squares = (along_x * along_x + along_y * along_y).reshape(-1, 3)
    length = np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])
    return np.minimum(length, 1, out=length).reshape(image.shape[:2])


def grey_gradient(image: np.ndarray) -> np.ndarray:
    """Length of the grey image's Sobel gradient: h x w x 3 uint8 RGB -> h x w float32 in [0, 1].

    1 is what a step from black to white has along both axes.
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    along_x = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / (4 * 255))
    along_y = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / (4 * 255))
    return np.minimum(cv2.magnitude(along_x, along_y) / np.float32(np.sqrt(2)), 1)
