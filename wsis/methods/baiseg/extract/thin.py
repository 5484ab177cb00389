"""Boundary map -> boundary pixels: non-maximum suppression across the ridges, then the threshold.

Shapes: h x w pixels of an image.

Why the lines are healed. Free pixels are joined through their four neighbours, which a line of pixels
stops when each touches the next by side or corner: a diagonal line does not leak. But suppression breaks
lines, where two ridges meet and where one turns, and a break does leak. So the kept ridge pixels are widened
by one pixel to every side, as far as the map exceeds the threshold: a break of two pixels in a ridge that is
above the threshold closes, no pixel below it becomes a boundary, and an opening in the map itself stays
open. Widening by a 2 x 2 block closes less, takes free pixels away and depends on the image's orientation.
"""

from __future__ import annotations

import cv2
import numpy as np

SIGMA = 1.5  # pixels; smoothing before the ridge's direction is taken, not of the values compared
FOOT = 0.6  # a ridge's foot: downward curvature under a quarter of the upward one
# Three pixels along each direction across a ridge: x, y, and the two diagonals (y grows downwards).
_ACROSS_X = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 0]], np.uint8)
_FALLING = np.eye(3, dtype=np.uint8)
_AROUND = np.ones((3, 3), np.uint8)


def ridges(boundary: np.ndarray) -> np.ndarray:
    """Pixels no smaller than their two neighbours across the ridge, on flat ground as well.

    The direction across is that of the strongest downward curvature of the smoothed map, rounded to
    eighths of a turn. At the foot of a ridge, which curves upwards, it is that of the upward curvature: along
    the ridge neighbours are equal and the foot would stay. Equal neighbours are all kept, so a plateau stays.

    Args:
        boundary: h x w float32

    Returns:
        h x w bool.
    """
    smooth = cv2.GaussianBlur(boundary, (0, 0), SIGMA)
    xx = cv2.Sobel(smooth, cv2.CV_32F, 2, 0)
    yy = cv2.Sobel(smooth, cv2.CV_32F, 0, 2)
    xy = cv2.Sobel(smooth, cv2.CV_32F, 1, 1)
    # The Hessian's eigenvalues are half of xx + yy -+ the length of (xx - yy, 2 xy), which has twice the
    # angle of the larger one's eigenvector; reversed, it has twice the angle of the smaller one's.
    straight, slanted = xx - yy, 2 * xy
    foot = xx + yy >= FOOT * cv2.magnitude(straight, slanted)
    straight, slanted = np.where(foot, straight, -straight), np.where(foot, slanted, -slanted)
    upright = np.abs(straight) >= np.abs(slanted)
    largest = np.where(
        upright,
        np.where(straight >= 0, cv2.dilate(boundary, _ACROSS_X), cv2.dilate(boundary, _ACROSS_X.T)),
        np.where(slanted >= 0, cv2.dilate(boundary, _FALLING), cv2.dilate(boundary, _FALLING[::-1])),
    )
    return boundary >= largest


def boundary_pixels(boundary: np.ndarray, threshold: float, thin: bool) -> np.ndarray:
    """The pixels that separate regions: h x w float32 in [0, 1] -> h x w bool.

    A boundary pixel exceeds the threshold; with `thin` it is also a ridge pixel or touches one.
    """
    above = boundary > threshold
    if not thin:
        return above
    lines = (ridges(boundary) & above).view(np.uint8)
    return above & cv2.dilate(lines, _AROUND).view(bool)
