"""Hand-made label maps and what follows from them: contours, soft boundary maps, semantic maps."""

import cv2
import numpy as np


def voronoi(seed, size=(60, 80), cells=9):
    """h x w int32 cells 1.. around random points, and the points (cells x 2, row and column)."""
    rng = np.random.default_rng(seed)
    points = np.stack([rng.integers(4, side - 4, cells) for side in size], 1)
    rows, columns = np.indices(size)
    far = np.hypot(rows - points[:, 0, None, None], columns - points[:, 1, None, None])
    return far.argmin(0).astype(np.int32) + 1, points


def contours(labels):
    """Pixels with another label among their four neighbours: h x w int -> h x w bool, in a loop."""
    h, w = labels.shape
    edge = np.zeros((h, w), bool)
    for y in range(h):
        for x in range(w):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if 0 <= v < h and 0 <= u < w and labels[v, u] != labels[y, x]:
                    edge[y, x] = True
    return edge


def soft(edge, sigma=1.5):
    """Blurred contours whose largest value is 1: h x w bool -> h x w float32."""
    blurred = cv2.GaussianBlur(edge.astype(np.float32), (0, 0), sigma)
    return np.minimum(blurred / max(float(blurred.max()), 1e-6), 1).astype(np.float32)


def blank(size):
    """An image without content."""
    return np.full((*size, 3), 127, np.uint8)


def noise(seed, size):
    """A smooth random map in [0, 1] float32."""
    rng = np.random.default_rng(seed)
    values = cv2.GaussianBlur(rng.random(size, np.float32), (0, 0), 1.2)
    return ((values - values.min()) / (values.max() - values.min())).astype(np.float32)


def components(mask):
    """Components of a mask through four neighbours, by a stack: list of sets of (row, column)."""
    left = set(zip(*np.nonzero(mask), strict=True))
    found = []
    while left:
        stack = [left.pop()]
        component = set(stack)
        while stack:
            y, x = stack.pop()
            near = {(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)} & left
            left -= near
            component |= near
            stack.extend(near)
        found.append(component)
    return found
