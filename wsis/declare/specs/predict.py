"""Inference."""

from __future__ import annotations

from typing import Literal

from wsis.declare.base import Fraction, Positive, Spec


class PredictSpec(Spec):
    """Inference (CondInst's, unchanged in BoxInst and SIM)."""

    score: Fraction = 0.05
    nms: Fraction = 0.6
    pre_nms: Positive = 1000  # a level
    detections: Positive = 100  # an image
    # Of the detected boxes: the network's, the box itself (BoxInst Table 3's "box mask"), or GrabCut's in it.
    masks: Literal["predicted", "boxes", "grabcut"] = "predicted"
