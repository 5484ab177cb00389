"""Watershed from labelled pixels over the unlabelled ones, in the band where anything happens.

Shapes: h x w pixels of an image. Label 0 is unlabelled.

Equality with flooding the whole image. The queue's keys are (relief, time of entry) and the labelled pixels
are all in it from the start; one without an unlabelled neighbour leaves it without effect, so it need not
enter. What is left to chance are labelled pixels of the same relief: here they enter in the order of rows
and columns, by fractions of a relief's step, so that the result depends neither on the band nor on the
queue's inner order.
"""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage
from skimage.segmentation import watershed

from wsis.methods.baiseg.extract.seeds import VOID

LEVELS = 65535  # steps of the relief from 0 to 1
_CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))


def levels(relief: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Whole steps of the relief (float64), those of labelled pixels lowered by distinct fractions."""
    steps = np.rint(relief * np.float32(LEVELS)).astype(np.float64)
    seeds = np.flatnonzero(labels)
    steps.ravel()[seeds] -= np.arange(len(seeds), 0, -1) / (len(seeds) + 1)
    return steps


def flood(labels: np.ndarray, relief: np.ndarray) -> np.ndarray:
    """Labels after the watershed (Vincent and Soille; scikit-image's), over the four neighbours.

    Args:
        labels: h x w int32
        relief: h x w float32 in [0, 1]

    Returns:
        h x w int32; 0 only where no pixel was labelled.
    """
    flooded = labels.copy()
    _grow(flooded, relief, np.ones(labels.shape, bool))
    return flooded


def flood_classes(labels: np.ndarray, relief: np.ndarray, semantic: np.ndarray) -> np.ndarray:
    """The same, each class's labels inside that class's pixels only.

    Args:
        labels: h x w int32, each label inside one class
        relief: h x w float32 in [0, 1]
        semantic: h x w uint8; neither background nor VOID is flooded

    Returns:
        h x w int32; 0 where no label of the pixel's class can reach.
    """
    flooded = labels.copy()
    for value, box in enumerate(ndimage.find_objects(semantic, max_label=VOID - 1), start=1):
        if box is not None:
            _grow(flooded[box], relief[box], semantic[box] == value)
    return flooded


def _grow(labels: np.ndarray, relief: np.ndarray, within: np.ndarray) -> None:
    """Flood the unlabelled pixels of `within` (h x w bool) from the labelled ones of it, in place."""
    unlabelled = (labels == 0) & within
    if not unlabelled.any():
        return
    crop = _around(unlabelled)
    band = cv2.dilate(unlabelled[crop].view(np.uint8), _CROSS).view(bool) & within[crop]
    seeds = labels[crop] * band
    grown = watershed(levels(relief[crop], seeds), seeds, mask=band)
    labels[crop][band] = grown[band]


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of the pixels that are on, and one more to every side."""
    rows, columns = ndimage.find_objects(mask.view(np.uint8))[0]
    return (
        slice(max(rows.start - 1, 0), rows.stop + 1),
        slice(max(columns.start - 1, 0), columns.stop + 1),
    )
