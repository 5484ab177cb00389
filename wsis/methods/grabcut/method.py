"""GrabCut from given boxes: a baseline without anything to train."""

from __future__ import annotations

import zlib
from collections import Counter

from wsis.data.structures import BoxMask, BoxSample
from wsis.declare.recipe import Recipe
from wsis.methods.boxes.method import Boxes
from wsis.methods.grabcut.cut import cut_boxes


class GrabCut(Boxes):
    """Masks by graph cuts between the colours inside a box and those outside it.

    Each mask is determined by the image, its box, its id and the recipe's seed.
    replaced: the number of boxes that became their own masks, by reason (`wsis.methods.grabcut.cut.Cut`)
    """

    def __init__(self, recipe: Recipe, num_classes: int) -> None:
        super().__init__(recipe, num_classes)
        self.replaced: Counter[str] = Counter()
        self.filled = 0

    def _fill(self, sample: BoxSample) -> list[BoxMask]:
        image = sample.image.permute(1, 2, 0).cpu().numpy()
        seeds = [zlib.crc32(f"{self.recipe.seed}/{number}".encode()) for number in sample.annotation_ids]
        cuts = cut_boxes(image, sample.boxes.tolist(), seeds)
        self.replaced.update(cut.reason for cut in cuts if cut.reason)
        self.filled += len(cuts)
        return [BoxMask(cut.rle, float(cut.inside)) for cut in cuts]

    def remark(self) -> str:
        """How many boxes could not be cut, and why; '' when each was."""
        if not self.replaced:
            return ""
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.replaced.items()))
        return f"{self.replaced.total()} of {self.filled} boxes became their own masks ({reasons})"
