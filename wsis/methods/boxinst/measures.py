"""How often similar colours mean equal labels: column prop. of Table 1a and Figure 4, without training."""

from __future__ import annotations

from wsis.measures.measure import Absent, Asked, Measure, MeasureSet, Place


def _place(asked: Asked, measure: str) -> Place | Absent:
    """At the threshold of a row, on the evaluation images of its first seed."""
    from wsis.data.places import shapes_root

    recipe = asked.recipe.settled()
    spec = recipe.loss.pairwise
    if spec is None or recipe.data.supervision == "masks":
        return Absent("no threshold: this row does not guess edges from colours", meant=True)
    return Place(shapes_root(recipe) or recipe.data.dataset, f"{spec.tau:g}")


AFFINITY = MeasureSet(
    name="colour-affinity",
    measures=(Measure("prop", "prop", better=None, ours=False),),
    note="",
    place=_place,
    compute="wsis.methods.boxinst.affinity:measure_images",
    needs="data",
)
