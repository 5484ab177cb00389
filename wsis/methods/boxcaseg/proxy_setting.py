"""What the quality of a row's proxy masks is filed under. No numpy here: plans and reports ask for it."""

from __future__ import annotations

from wsis.declare.recipe import ProxySpec

RAW = "none"  # the order of masks that are not merged


def setting(spec: ProxySpec) -> str:
    """What rows must share to have one quality: who wins contested pixels, and the threshold.

    The convention of the agreement is no part of it: both are measured.
    """
    return f"{spec.order if spec.merge else RAW}, {spec.drop or 0:g}"
