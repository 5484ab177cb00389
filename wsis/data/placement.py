"""How a training image gets into the network's input: resized, and seen through a window.

Large-scale jitter (Mask2Former's training on COCO) draws the long side, from a tenth of a square frame's side
to twice as long. What is larger than the frame is cropped, what is smaller is padded to it
(`wsis.data.loading.collate`).
h x w original image, H x W resized image, N instances. Boxes are N x 4 float32 xyxy pixels, half-open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from wsis.data.masks import around
from wsis.data.transforms import View, network_size
from wsis.declare.specs.data import SCALE_JITTER, DataSpec

SCALES = 0.1, 2.0  # of the long side, as a share of the frame (Mask2Former's code)


@dataclass(frozen=True)
class Placement:
    """An image is resized to height x width, of which rows x columns from (top, left) on are the input.

    scale: input pixels an original pixel
    frame: side of the square to which the input is padded; 0: no further than the batch needs
    """

    height: int
    width: int
    scale: float
    top: int
    left: int
    rows: int
    columns: int
    frame: int = 0

    @property
    def cuts(self) -> bool:
        """Whether some of the resized image is not seen."""
        return (self.rows, self.columns) != (self.height, self.width)

    @property
    def below(self) -> int:
        """Rows of the resized image that are cut off below the window."""
        return self.height - self.top - self.rows

    def image(self, image: np.ndarray, resample: Image.Resampling = Image.Resampling.BILINEAR) -> np.ndarray:
        """h x w (x 3) -> rows x columns (x 3): the window of the resized image, computed alone."""
        h, w = image.shape[:2]
        if (h, w) == (self.height, self.width):
            return self.cut(image)
        y, x = h / self.height, w / self.width
        box = self.left * x, self.top * y, (self.left + self.columns) * x, (self.top + self.rows) * y
        return np.asarray(Image.fromarray(image).resize((self.columns, self.rows), resample, box=box))

    def boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes of an image of h x w = size, clipped to the window; N bool: which have a pixel a side."""
        h, w = size
        boxes = boxes * np.array([self.width / w, self.height / h] * 2, np.float32)
        boxes = boxes - np.array([self.left, self.top] * 2, np.float32)
        boxes = boxes.clip(0, np.array([self.columns, self.rows] * 2, np.float32))
        return boxes, ((boxes[:, 2:] - boxes[:, :2]) >= 1).all(1)

    def cut(self, resized: np.ndarray) -> np.ndarray:
        """H x W (x 3) -> rows x columns (x 3), a view."""
        return resized[self.top : self.top + self.rows, self.left : self.left + self.columns]


def whole(height: int, width: int, short: int, longest: int) -> Placement:
    """All of an image of h x w: its short side becomes `short` unless the long one would exceed `longest`."""
    rows, columns, scale = network_size(height, width, short, longest)
    return Placement(rows, columns, scale, 0, 0, rows, columns)


def drawn(data: DataSpec, height: int, width: int, rng: np.random.Generator) -> Placement:
    """That of a training image of h x w, at one of data.short_side, or jittered."""
    side = data.short_side[int(rng.integers(len(data.short_side)))]
    if data.augment == SCALE_JITTER:
        return jittered(height, width, side, rng)
    return whole(height, width, side, data.max_side)


def jittered(height: int, width: int, frame: int, rng: np.random.Generator) -> Placement:
    """That of an image of h x w whose long side is `SCALES` of the frame, at a place drawn on each axis."""
    scale = rng.uniform(*SCALES) * frame / max(height, width)
    resized = [max(round(side * scale), 1) for side in (height, width)]
    seen = [min(side, frame) for side in resized]
    top, left = (int(rng.integers(side - part + 1)) for side, part in zip(resized, seen, strict=True))
    return Placement(*resized, scale, top, left, *seen, frame)


def tightened(view: View) -> View:
    """Without objects whose given mask is empty; boxes that reach the edge are drawn around given masks."""
    height, width = view.image.shape[:2]
    reach = (view.boxes[:, :2] <= 0).any(1) | (view.boxes[:, 2:] >= np.array([width, height])).any(1)
    boxes, kept = view.boxes.copy(), np.ones(len(view.boxes), bool)
    for row in np.flatnonzero(view.has_mask):
        box = around(view.masks[row])
        kept[row] = box is not None
        if box is not None and reach[row]:
            boxes[row] = box
    return View(view.image, boxes[kept], view.labels[kept], view.masks[kept], view.has_mask[kept])
