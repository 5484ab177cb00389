"""What a training takes from another run: its weights, or the masks that it made."""

from __future__ import annotations

from typing import Literal

from wsis.declare.base import Fraction, Positive, Spec


class InitSpec(Spec):
    """Start from another run, at its end: from its weights, or where it stopped."""

    parent: str  # id of the parent recipe
    # Continue the parent's training at this iteration of one common schedule, with its optimiser's state;
    # null: its weights only, on a schedule of one's own.
    iteration: Positive | None = None


class ProxySpec(Spec):
    """Proxy masks as a Mask R-CNN's training masks: whose they are, and how they are merged and dropped."""

    parent: str  # id of the recipe whose masks they are
    instances: bool = False  # masks with classes and boxes of their own (BAISeg), not for given boxes
    merge: bool = True
    order: Literal["box", "mask", "random", "larger"] = "box"
    drop: Fraction | None = 0.95
    agreement: Literal["plus_one", "exact"] = "plus_one"
