"""Boxes that overlap another one, of which BoxCaseg's code for COCO skips most (erratum ratio-coco).

N boxes of all images, those of an image together.
"""

from __future__ import annotations

import numpy as np

ABOVE = 0.5  # IoU of boxes that overlap heavily


def overlapping(owners: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """N bool: whether a box has an IoU above 0.5 with another box of its image.

    owners: N int, ascending, the image of each; boxes: N x 4 xyxy
    """
    found = np.zeros(len(boxes), bool)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    first = np.arange(len(boxes))  # those that still have a box of their image `step` places further
    for step in range(1, len(boxes)):
        first = first[: np.searchsorted(first, len(boxes) - step)]
        first = first[owners[first] == owners[first + step]]
        if not len(first):
            break
        one, other = boxes[first], boxes[first + step]
        sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
        shared = sides.clip(min=0).prod(1)
        close = first[shared > ABOVE * (areas[first] + areas[first + step] - shared)]
        found[close] = found[close + step] = True
    return found
