"""Semantic maps that another network of the plan predicted, in the place of the ground truth.

They are the network's masks of the training images (`Root.proxies`), one an image and class.
h x w image.
"""

from __future__ import annotations

import numpy as np

from wsis.data.annotations import Picture
from wsis.data.masks import decode_mask
from wsis.data.roots import Root
from wsis.errors import WsisError


class TaughtMaps:
    """The maps of the training pictures, with the face of `SemanticMaps`. Nothing in them is void."""

    def __init__(self, root: Root) -> None:
        self.regions = root.proxies
        self.labels_of = {id: label for label, id in enumerate(root.category_ids)}

    def read(self, picture: Picture) -> np.ndarray:
        """h x w uint8: 0 background, label + 1. WsisError for a picture that the network did not see."""
        if picture.id not in self.regions:
            raise WsisError(
                f"{picture.path}: no semantic map by the network that is learnt from: it was trained on other"
                " images; delete its run's folder `proxies` and train it again"
            )
        semantic = np.zeros((picture.height, picture.width), np.uint8)
        for region in self.regions[picture.id]:
            mask = decode_mask(region["rle"], picture.height, picture.width)
            semantic[mask] = self.labels_of[region["category_id"]] + 1
        return semantic

    labels = read

    def filled(self, semantic: np.ndarray, *maps: np.ndarray) -> tuple[np.ndarray, ...]:
        """The maps as they are: there are no bands of void."""
        return semantic, *maps
