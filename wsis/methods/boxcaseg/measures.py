"""Measures of proxy masks: those that a row's second stage learns from, on evaluation images with true masks.

A trained first stage, or a baseline, has filled the boxes of the evaluation images, as it fills those of
the training images that a Mask R-CNN learns from. No network runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsis.measures.measure import Absent, Asked, Measure, MeasureSet, Place

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe
    from wsis.declare.specs.parents import ProxySpec

RAW = "none"  # the order of masks that are not merged
CONVENTIONS = {"": "", "_exact": ", exact boxes", "_plus_one": ", +1 boxes"}  # end of a name: of its words
NOTE = (
    "Measures of ours, not the paper's: the network that makes a row's proxy masks fills the boxes of "
    "images that no training has seen, and its masks are merged and dropped as the row's are; no Mask "
    "R-CNN takes part; per cent (see README.md). Gain of merging: mIoU after the row's own merging minus "
    "before, in points, on images where of boxes that overlap the smaller one's object is always in front, "
    "or always behind; which one is in front is known of drawn images only. Kept, dropped: masks whose "
    "agreement of proxy box and given box is above the row's threshold, or not; with exact boxes, or with "
    "the released code's, one pixel longer (+1), where it says so. AUC: how well a number tells masks of "
    "IoU 0.75 and more from the others. Agreement at most, or above, the IoU: share of the objects; the "
    "paper calls the agreement a lower bound of the IoU."
)


def rules_of(recipe: Recipe) -> ProxySpec | None:
    """The run that predicts a row's masks of given boxes, and how they are merged and dropped.

    None for a row without such masks. A baseline's masks stay as they are: no Mask R-CNN learns them.
    """
    from wsis.declare.specs.parents import ProxySpec
    from wsis.methods import info_of

    if info_of(recipe.method).baseline:
        return ProxySpec(parent=recipe.id, merge=False, drop=None)
    return None if recipe.proxy is None or recipe.proxy.instances else recipe.proxy


def setting(spec: ProxySpec) -> str:
    """Key of rows with the same masks: who wins contested pixels, the threshold, and its agreement."""
    return f"{spec.order if spec.merge else RAW}, {spec.drop or 0:g}, {spec.agreement}"


def _place(asked: Asked, measure: str) -> Place | Absent:
    """The masks that the row's rules leave, of the run that predicts them."""
    rules = rules_of(asked.recipe)
    return Absent("no proxy masks") if rules is None else Place(rules.parent, setting(rules))


PROXY_MASKS = MeasureSet(
    name="proxy",
    measures=(
        Measure("proxy_mIoU_raw", "proxy masks: mIoU, raw", better=None),
        Measure("proxy_mIoU", "proxy masks: mIoU"),
        Measure("merge_gain_front", "gain of merging: smaller in front", unit="points"),
        Measure("merge_gain_behind", "gain of merging: smaller behind", unit="points"),
        *(
            Measure(f"{name}{end}", f"{words}{more}", better=better)
            for end, more in CONVENTIONS.items()
            for name, words, better in (
                ("kept_mIoU", "kept masks: mIoU", "higher"),
                ("kept_IoU75", "kept masks: IoU@75", "higher"),
                ("proxy_drop", "masks dropped", None),
            )
        ),
        Measure("agreement_AUC", "agreement: AUC"),
        Measure("certainty_AUC", "certainty: AUC"),
        Measure("agreement_below", "agreement at most the IoU", better=None),
        Measure("agreement_above", "agreement above the IoU", better=None),
    ),
    note=NOTE,
    place=_place,
    compute="wsis.methods.boxcaseg.proxy_rows:measure_rows",
)
