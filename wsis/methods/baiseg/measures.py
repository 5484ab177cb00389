"""Measures of boundary maps, on evaluation images, and of what the papers' networks cost."""

from __future__ import annotations

from wsis.measures.measure import Absent, Asked, Measure, MeasureSet, Place

MODULE = frozenset({"baiseg/3", "baiseg/4", "baiseg/5"})  # tables whose costs are the boundary module's alone
BOUNDARY_NOTE = (
    "Measures of ours, not the paper's, on images that no training has seen; per cent (see README.md). "
    "Response: mean of a row's boundary map times 100. Class contours are what is labelled. Contacts: "
    "lines between touching objects of one class, labelled as no boundary. Textures: edges inside objects "
    "of drawn images. Interiors: objects' other pixels. All but contours are three pixels away from one "
    "another and from contours. AUC: how well the response tells contacts from the others; 50 is chance. "
    "Split: pairs of touching objects that are both found (IoU above 0.5), by two instances."
)
COST_NOTE = (
    "Measures of ours, not the paper's: what the boundary module of the paper's own recipe costs: its "
    "parameters, and its operations where it runs, on the features of a 416 x 416 image (the paper's columns "
    "count a feature map of 416 x 416)."
)


def _maps_place(asked: Asked, measure: str) -> Place | Absent:
    """The boundary maps and instances of the row's run. A Mask R-CNN trained on them has no such map."""
    run, spec = asked.run, asked.recipe.baiseg
    if spec is None or (measure != "split" and spec.boundary == "none"):
        return Absent("no boundary map")
    return Place(run.id, run.id)


def _cost_place(asked: Asked, measure: str) -> Place | Absent:
    """The costs of the paper's recipe, by what its table counts."""
    if asked.published.baiseg is None:
        return Absent("costs are counted for BAISeg's networks")
    return Place(asked.published.id, "module" if asked.table.key in MODULE else "network")


BOUNDARIES = MeasureSet(
    name="boundary",
    measures=(
        Measure("response_contour", "response: class contours", better=None),
        Measure("response_contact", "response: contacts", better=None),
        Measure("response_texture", "response: textures", better=None),
        Measure("response_interior", "response: interiors", better=None),
        Measure("contact_AUC", "contacts vs interiors: AUC"),
        Measure("contact_texture_AUC", "contacts vs textures: AUC"),
        Measure("split", "touching pairs: split"),
    ),
    note=BOUNDARY_NOTE,
    place=_maps_place,
    compute="wsis.methods.baiseg.boundary_quality:measure_run",
    code=("wsis.methods.baiseg.method",),
    network=True,
)
COMPLEXITY = MeasureSet(
    name="complexity",
    measures=(
        Measure("GFLOPs", "GFLOPs", unit="GFLOPs", better="lower", ours=False),
        Measure("params", "params", unit="M", better="lower", ours=False),
        Measure("GFLOPs_stride4", "GFLOPs where it runs", unit="GFLOPs", better="lower"),
        Measure("params_module", "boundary module: parameters, M", unit="M", better="lower"),
    ),
    note=COST_NOTE,
    place=_cost_place,
    compute="wsis.methods.baiseg.complexity:measure_recipe",
    needs="recipe",
)
