"""The mask extraction pipeline (BAISeg, Sec. 3.6): thin, label, flood, give classes, refine, score.

Shapes: h x w pixels of an image. Semantic maps: 0 background, class + 1, VOID.

Refinement keeps a region's pixels inside its class. With literal seeds, which know no class, that follows the
watershed. Semantic seeds know theirs, so their watershed runs inside the class: cutting afterwards would lose
the rim of an object whose boundary response lies inside the semantic contour. Without refinement they flood
freely, against seeds of the background.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsis.errors import WsisError
from wsis.methods.baiseg.extract.flood import flood, flood_classes
from wsis.methods.baiseg.extract.gradient import grey_gradient
from wsis.methods.baiseg.extract.instances import Extracted, instances
from wsis.methods.baiseg.extract.seeds import literal_seeds, semantic_seeds
from wsis.methods.baiseg.extract.thin import boundary_pixels
from wsis.methods.baiseg.spec import BaisegSpec


@dataclass
class Steps:
    """The maps between the steps of the pipeline, for pictures.

    lines: h x w bool, boundary pixels, thinned and above the threshold; None without a boundary map
    seeds: h x w int32, label map before the watershed, 0 unlabelled
    regions: h x w int32, after it; without a boundary map the same
    instances: best first
    """

    lines: np.ndarray | None
    seeds: np.ndarray
    regions: np.ndarray
    instances: list[Extracted]


def extract(
    image: np.ndarray,
    boundary: np.ndarray | None,
    semantic: np.ndarray,
    settings: BaisegSpec,
    certainty: np.ndarray | None = None,
) -> Steps:
    """Instances of an image, with the maps that lead to them.

    Args:
        image: h x w x 3 uint8 RGB
        boundary: h x w float32 in [0, 1]; None: instances are the semantic map's components (a control)
        semantic: h x w uint8
        settings: a recipe's section, from `threshold` to `closing`; with a boundary map, `threshold` is set
        certainty: h x w float32 in [0, 1], probability of the semantic map's class; None: 1

    Raises:
        WsisError: maps of different sizes, kinds or ranges.
    """
    _check(image, boundary, semantic, certainty)
    closing = settings.closing if settings.refine else None
    if boundary is None:
        area = settings.min_area if settings.seeds == "semantic" else 1
        seeds = semantic_seeds(np.ones(semantic.shape, bool), semantic, area, background=False)
        return Steps(None, seeds, seeds, instances(seeds, semantic, None, certainty, closing))
    lines = boundary_pixels(boundary, settings.threshold, settings.thin)
    relief = boundary if settings.relief == "boundary" else grey_gradient(image)
    if settings.seeds == "literal":
        seeds = literal_seeds(~lines)
        regions = flood(seeds, relief)
    elif settings.refine:
        seeds = semantic_seeds(~lines, semantic, settings.min_area, background=False)
        regions = flood_classes(seeds, relief, semantic)
    else:
        seeds = semantic_seeds(~lines, semantic, settings.min_area, background=True)
        regions = flood(seeds, relief)
    return Steps(lines, seeds, regions, instances(regions, semantic, boundary, certainty, closing))


def _check(
    image: np.ndarray, boundary: np.ndarray | None, semantic: np.ndarray, certainty: np.ndarray | None
) -> None:
    """Raise WsisError unless the maps fit the image."""
    h, w = image.shape[:2]
    if image.dtype != np.uint8 or image.shape != (h, w, 3) or not h * w:
        raise WsisError(f"extraction needs an RGB image of bytes, not {image.dtype} of shape {image.shape}")
    for name, array, kind in (
        ("boundary map", boundary, np.float32),
        ("semantic map", semantic, np.uint8),
        ("certainty map", certainty, np.float32),
    ):
        if array is None:
            continue
        if array.shape != (h, w):
            raise WsisError(f"{name} of shape {array.shape} for an image of {h} x {w}: bring it to that size")
        if array.dtype != kind:
            raise WsisError(f"{name} holds {array.dtype}, extraction needs {np.dtype(kind)}")
        if kind is np.float32 and not (array.min() >= 0 and array.max() <= 1):
            raise WsisError(f"{name} has values outside [0, 1] (or not a number): apply the sigmoid first")
