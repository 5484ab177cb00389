"""Measures of pseudo masks: the maps of each row's settings with the warm-up that it continues, untrained."""

from __future__ import annotations

from itertools import product

from wsis.measures.measure import Absent, Asked, Measure, MeasureSet, Place

MAPS = {"semantic": "M_S", "instance": "M_I", "pseudo": "pseudo masks"}
KINDS = {"IoU": "IoU at 0.5", "best": "IoU at the best threshold", "AUC": "AUC"}
LABELS = {"cover": "labelled", "acc": "labels that are right"}
SUBSETS = {"": "", "_overlap": ", overlapping"}  # end of a measure's name: of its words
NOTE = (
    "Measures of ours, not the paper's: SIM's maps and labels inside the boxes of images that no training "
    "has seen, with the warm-up checkpoint and without further training; per cent (see README.md). M_S: "
    "semantic map (Eq. 1); M_I: instance map (Eq. 6); pseudo masks: both, as in Eq. 7. AUC: area under the "
    "ROC curve of a map's pixels, which no threshold decides. Labelled: share of the pixels beyond the "
    "thresholds; right: share of those. Overlapping: objects whose box overlaps one of their own class."
)


def _measures() -> tuple[Measure, ...]:
    """IoU, best IoU and AUC of each map, then of the labels; each over all and over overlapping objects."""
    pairs = [*product(MAPS.items(), KINDS.items()), *product([("pseudo", MAPS["pseudo"])], LABELS.items())]
    return tuple(
        Measure(
            f"{name}_{kind}{end}",
            f"{shown}: {words}{more}",
            better=None if kind == "cover" else "higher",
        )
        for ((name, shown), (kind, words)), (end, more) in product(pairs, SUBSETS.items())
    )


def _place(asked: Asked, measure: str) -> Place | Absent:
    """Of a run's settings, at the checkpoint that it continues."""
    recipe = asked.recipe
    if not (recipe.sim and recipe.sim.labels):
        return Absent("no pseudo masks")
    if recipe.init is None or recipe.init.iteration is None:
        return Absent("no common warm-up to measure at", meant=True)
    return Place(recipe.init.parent, asked.run.id)


PSEUDO_MASKS = MeasureSet(
    name="pseudo",
    measures=_measures(),
    note=NOTE,
    place=_place,
    compute="wsis.methods.sim.quality:measure_rows",
    code=("wsis.methods.sim.method",),
    network=True,
)
