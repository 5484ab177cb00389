"""Quality of proxy masks as rows use them: merged and dropped by each row's own rules, without training one.

N objects of all images. `proxy_quality` says what merging and dropping do in general; here are the orders and
thresholds of rows. IoUs are per cent; "IoU" is the mean over objects, "mIoU" over classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsis.data.ground_truth import eval_annotations, eval_image_ids
from wsis.declare.specs.parents import ProxySpec
from wsis.errors import WsisError
from wsis.evaluation.guard import read_truth
from wsis.measures.measure import Measured, Subject
from wsis.methods.boxcaseg.measures import RAW, rules_of, setting
from wsis.methods.boxcaseg.proxy_quality import CONVENTIONS, predicted_images, proxy_quality, score


def measure_rows(subject: Subject) -> Measured:
    """The measures of one run's masks by the rules of every row that learns them, by `setting`.

    Raises WsisError where objects of the evaluation images have no mask.
    """
    recipe, root, predictions = subject.run.recipe, subject.root, subject.folder / "predictions.json"
    annotations = eval_annotations(root, subject.base / "data")
    images, truth = predicted_images(predictions, annotations)
    chosen = {*eval_image_ids(recipe, root)}
    objects = (entry for entry in read_truth(annotations).annotations if entry["image_id"] in chosen)
    masked = {entry["annotation_id"] for image in images for entry in image["objects"]}
    if missing := sorted(
        entry["id"] for entry in objects if not entry["iscrowd"] and entry["id"] not in masked
    ):
        raise WsisError(
            f"{predictions}: no mask for {len(missing)} objects, the first with id {missing[0]};"
            f" train {subject.key} again"
        )
    specs = {case: rules_of(asked.recipe) for case, asked in subject.cases.items()}
    common = proxy_quality(images, truth, recipe.seed, drawn=root.dataset == "shapes")
    scores = row_quality(images, truth, specs.values(), recipe.seed)
    values = {case: _values(scores[case], common, spec) for case, spec in specs.items()}
    return Measured(values, {"images": len(chosen), **common})


def _values(scores: dict[str, Any], common: dict[str, Any], spec: ProxySpec) -> dict[str, float | None]:
    """What `row_quality` says of one spec and `proxy_quality` of all, by the measures' names."""
    values = {"proxy_mIoU_raw": common["merge"][RAW]["mIoU"], "proxy_mIoU": scores["merged"]["mIoU"]}
    for name, front in (("merge_gain_front", "smaller"), ("merge_gain_behind", "larger")):
        values[name] = _gain(common["front"] and common["front"][front]["merge"], spec)
    for end, convention in (("", spec.agreement), *((f"_{how}", how) for how in CONVENTIONS)):
        kept = scores["kept"][convention]
        values[f"kept_mIoU{end}"], values[f"kept_IoU75{end}"] = kept["mIoU"], kept["IoU75"]
        values[f"proxy_drop{end}"] = None if kept["drop_rate"] is None else 100 * kept["drop_rate"]
    below = scores["lower_bound"]
    return values | {
        "agreement_AUC": scores["ranking"]["agreement"]["auc"],
        "certainty_AUC": scores["ranking"]["certainty"]["auc"],
        "agreement_below": below,
        "agreement_above": None if below is None else 100 - below,
    }


def _gain(merged: dict[str, Any] | None, spec: ProxySpec) -> float | None:
    """Points that the spec's merging adds; None where it is unknown what is in front, or no image is such."""
    if merged is None or merged[RAW]["mIoU"] is None:
        return None
    return merged[spec.order if spec.merge else RAW]["mIoU"] - merged[RAW]["mIoU"]


def row_quality(
    images: Sequence[dict[str, Any]], truth: Mapping[int, dict], specs: Iterable[ProxySpec], seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Scores of the masks that each of `specs` leaves, by `setting`.

    images, truth: as `wsis.methods.boxcaseg.proxy_quality.predicted_images` gives them
    seed:          of the random order

    Each has
    merged       {IoU, mIoU, IoU50, IoU75} of all masks, after the spec's merging
    kept         {"exact", "plus_one": {drop_rate (0 to 1), kept (how many), IoU, mIoU, IoU50, IoU75}}: of
                 those whose agreement by that convention is above the threshold; IoUs are None without any
    ranking      {"agreement" (exact), "certainty": {"spearman", "auc"}} with the IoU of the merged masks
    lower_bound  per cent of the objects whose agreement (exact) is at most their IoU; None without objects
    """
    wanted = {setting(spec): (spec.order if spec.merge else RAW, spec.drop) for spec in specs}
    scored = score(images, truth, {order for order, _ in wanted.values()}, seed)
    return {
        name: {
            "merged": scored.overlaps(order),
            "kept": {how: scored.kept(order, how, threshold) for how in CONVENTIONS},
            **scored.told_apart(order),
        }
        for name, (order, threshold) in wanted.items()
    }
