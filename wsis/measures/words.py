"""Measures of ours: names, what they are, values from results/<scale>/{pseudo,proxy,boundary}/<run>.json."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsis.declare.recipe import ProxySpec
from wsis.declare.table import BOUNDARY_MEASURES, COST_MEASURES, MEASURES, PROXY_MEASURES, PSEUDO_MEASURES
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.methods.boxcaseg.proxy_setting import setting
from wsis.methods.sim.measures import BATCHES

GROUP = "ours"  # the header over the measures in every format
NO_MASKS = "no pseudo masks"  # why a row that makes none has no value
NO_WARMUP = "no common warm-up to measure at"  # why one has none that continues no other training
NO_PROXIES = "no proxy masks"  # why a row that learns none has no value
NO_BOUNDARY = "no boundary map"  # why a row that extracts instances without one has no value
NO_DETECTOR = "no Mask R-CNN is trained in this row"  # why a row of BoxCaseg alone has no AP
# Reasons that leave a cell empty: nothing is missing.
NOT_MEANT = (NO_MASKS, NO_PROXIES, NO_BOUNDARY, NO_DETECTOR)
PSEUDO_NOTE = (
    "Measures of ours, not the paper's: SIM's maps and labels inside the boxes of images that no training "
    "has seen, with the warm-up checkpoint and without further training; per cent (see README.md). M_S: "
    "semantic map (Eq. 1); M_I: instance map (Eq. 6); pseudo masks: both, as in Eq. 7. AUC: area under the "
    "ROC curve of a map's pixels, which no threshold decides. Labelled: share of the pixels beyond the "
    "thresholds; right: share of those. Overlapping: objects whose box overlaps one of their own class."
)
PROXY_NOTE = (
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
BOUNDARY_NOTE = (
    "Measures of ours, not the paper's, on images that no training has seen; per cent (see README.md). "
    "Response: mean of a row's boundary map times 100. Class contours are what is labelled. Contacts: "
    "lines between touching objects of one class, labelled as no boundary. Textures: edges inside objects "
    "of drawn images. Interiors: objects' other pixels. All but contours are three pixels away from one "
    "another and from contours. AUC: how well the response tells contacts from the others; 50 is chance. "
    "Split: pairs of touching objects that are both found (IoU above 0.5), by two instances."
)
_MAPS = {"semantic": "M_S", "instance": "M_I", "pseudo": "pseudo masks"}
_KINDS = {
    "IoU": "IoU at 0.5", "best": "IoU at the best threshold", "AUC": "AUC", "cover": "labelled",
    "acc": "labels that are right",
}  # fmt: skip
_PROXY_WORDS = {
    "proxy_mIoU_raw": "proxy masks: mIoU, raw", "proxy_mIoU": "proxy masks: mIoU",
    "merge_gain_front": "gain of merging: smaller in front",
    "merge_gain_behind": "gain of merging: smaller behind",
    "kept_mIoU": "kept masks: mIoU", "kept_IoU75": "kept masks: IoU@75", "proxy_drop": "masks dropped",
    "agreement_AUC": "agreement: AUC", "certainty_AUC": "certainty: AUC",
    "agreement_below": "agreement at most the IoU", "agreement_above": "agreement above the IoU",
}  # fmt: skip
COST_NOTE = (
    "Measures of ours, not the paper's: what the boundary module of the paper's own recipe costs: its "
    "parameters, and its operations where it runs, on the features of a 416 x 416 image (the paper's columns "
    "count a feature map of 416 x 416)."
)
_COST_WORDS = {
    "GFLOPs_stride4": "GFLOPs where it runs", "params_module": "boundary module: parameters, M",
}  # fmt: skip
_BOUNDARY_WORDS = {
    "response_contour": "response: class contours", "response_contact": "response: contacts",
    "response_texture": "response: textures", "response_interior": "response: interiors",
    "contact_AUC": "contacts vs interiors: AUC", "contact_texture_AUC": "contacts vs textures: AUC",
    "split": "touching pairs: split",
}  # fmt: skip
_GAINS = {"merge_gain_front": "smaller", "merge_gain_behind": "larger"}  # box of the object in front
_CONVENTIONS = {"exact": "exact boxes", "plus_one": "+1 boxes"}


def is_measure(metric: str) -> bool:
    """Is `metric` a measure of ours, not a column of a paper?"""
    return metric in MEASURES


def readable(metric: str) -> str:
    """A measure in words, 'pseudo masks: IoU at 0.5, overlapping'; any other metric as it is."""
    if metric in PROXY_MEASURES:
        name, convention = _convention(metric)
        return _PROXY_WORDS[name] + (f", {_CONVENTIONS[convention]}" if convention else "")
    if metric in COST_MEASURES:
        return _COST_WORDS[metric]
    if not is_measure(metric) or metric in BOUNDARY_MEASURES:
        return _BOUNDARY_WORDS.get(metric, metric)
    name, kind, *overlap = metric.split("_")
    return f"{_MAPS[name]}: {_KINDS[kind]}" + (", overlapping" if overlap else "")


def measures_note(measures: Sequence[str]) -> str:
    """What columns of ours are; '' for none."""
    kinds = (
        (PSEUDO_MEASURES, PSEUDO_NOTE),
        (PROXY_MEASURES, PROXY_NOTE),
        (BOUNDARY_MEASURES, BOUNDARY_NOTE),
        (COST_MEASURES, COST_NOTE),
    )
    return " ".join(text for names, text in kinds if {*names} & {*measures})


def _convention(metric: str) -> tuple[str, str | None]:
    """'kept_mIoU_plus_one' -> ('kept_mIoU', 'plus_one'); None where the row's own is meant."""
    for convention in _CONVENTIONS:
        if metric.endswith(f"_{convention}"):
            return metric.removesuffix(f"_{convention}"), convention
    return metric, None


class _Files:
    """What was measured at a scale with the weights of some runs, each file read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._files: dict[str, dict[str, Any]] = {}

    def content(self, parent: str) -> dict[str, Any]:
        """The whole file of a run; empty where there is none."""
        if parent not in self._files:
            path = self._path(parent)
            self._files[parent] = read_json(path) if path.exists() else {}
        return self._files[parent]

    def other_data(self, parent: str, what: str, data: dict[str, Any] | None) -> str | None:
        """That it was measured on other data than `parent` was trained on, else None.

        data: what the parent's train.json says of the data that it was trained on; None where unknown.
        """
        used = self.content(parent).get("data") or {}
        if data is None or used.get("fingerprint") == data["fingerprint"]:
            return None
        return (
            f"measured on {used.get('root_name', 'unknown data')} ({used.get('fingerprint')}), the "
            f"{what} was trained on {data['root_name']} ({data['fingerprint']})"
        )

    def _path(self, parent: str) -> Path:
        return self.folder / f"{parent}.json"


class PseudoMasks(_Files):
    """The measured pseudo masks of SIM, a file a warm-up."""

    def value(self, parent: str, run: str, metric: str) -> float | None:
        """A measure of `run`'s settings with the checkpoint of `parent`; None where it is not measured.

        NaN where it is undefined, as the accuracy of no labels. Raises WsisError for a file of another form.
        """
        name, kind, *overlap = metric.split("_")
        try:
            content = self.content(parent)
            maps = content["runs"].get(run) if content else None
            if maps is None:
                return None
            value = maps[name]["overlap" if overlap else "all"][kind]
            return math.nan if value is None else float(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise WsisError(f"{self._path(parent)}: {run}: no {metric}: {error!r}") from None

    def problem(self, parent: str, data: dict[str, Any] | None) -> str | None:
        """Why what was measured with `parent`'s checkpoint is not the measure that tables show, else None.

        data: as in `other_data`.
        """
        batches = self.content(parent).get("batches")
        if batches != BATCHES:
            number = "an unknown number of" if batches is None else batches
            return f"prototypes estimated from {number} batches instead of {BATCHES}"
        return self.other_data(parent, "warm-up", data)


class ProxyMasks(_Files):
    """The measured proxy masks of BoxCaseg, a file a first stage."""

    def value(self, spec: ProxySpec, metric: str) -> float | None:
        """A measure of the masks of `spec.parent`, merged and dropped as `spec` says; None: not measured.

        NaN where it is undefined, as the quality of no masks. Raises WsisError for a file of another form.
        """
        try:
            content = self.content(spec.parent)
            scores = content["settings"].get(setting(spec)) if content else None
            if scores is None:
                return None
            value = _proxy_value(content, scores, metric, spec)
            return math.nan if value is None else float(value)
        except (KeyError, TypeError, AttributeError) as error:
            raise WsisError(f"{self._path(spec.parent)}: {setting(spec)}: no {metric}: {error!r}") from None

    def problem(self, parent: str, data: dict[str, Any] | None, metric: str) -> str | None:
        """Why what was measured of `parent`'s masks is not what tables show, else None; see `other_data`."""
        if metric in _GAINS and "front" not in self.content(parent):
            return "measured before it was told apart what is in front"
        return self.other_data(parent, "network", data)


class BoundaryMaps(_Files):
    """The measured boundary maps of BAISeg, a file a run."""

    def value(self, run: str, metric: str) -> float | None:
        """A measure of a run's boundary maps and instances; None where it is not measured.

        NaN where it is undefined, as the response of no pixels. Raises WsisError for a file of another form.
        """
        try:
            content = self.content(run)
            if not content or metric not in content["measures"]:  # measured before there was such a one
                return None
            value = content["measures"][metric]
            return math.nan if value is None else float(value)
        except (KeyError, TypeError, ValueError) as error:
            raise WsisError(f"{self._path(run)}: no {metric}: {error!r}") from None

    def problem(self, run: str, data: dict[str, Any] | None) -> str | None:
        """Why what was measured of a run is not what tables show, else None; see `other_data`."""
        return self.other_data(run, "network", data)


def _proxy_value(
    content: dict[str, Any], scores: dict[str, Any], metric: str, spec: ProxySpec
) -> float | None:
    name, named = _convention(metric)
    kept = scores["kept"][named or spec.agreement]
    match name:
        case "proxy_mIoU_raw":
            return content["merge"]["none"]["mIoU"]
        case "proxy_mIoU":
            return scores["merged"]["mIoU"]
        case "merge_gain_front" | "merge_gain_behind":
            return _gain(content, _GAINS[name], spec)
        case "kept_mIoU" | "kept_IoU75":
            return kept[name.removeprefix("kept_")]
        case "proxy_drop":
            return None if kept["drop_rate"] is None else 100 * kept["drop_rate"]
        case "agreement_AUC" | "certainty_AUC":
            return scores["ranking"][name.removesuffix("_AUC")]["auc"]
        case "agreement_below":
            return scores["lower_bound"]
        case "agreement_above":
            return None if scores["lower_bound"] is None else 100 - scores["lower_bound"]
    raise KeyError(metric)


def _gain(content: dict[str, Any], front: str, spec: ProxySpec) -> float | None:
    """Points that the spec's merging adds; None where it is unknown what is in front, or no image is such."""
    if (fronts := content.get("front")) is None:
        return None
    merged = fronts[front]["merge"]
    before, after = merged["none"]["mIoU"], merged[spec.order if spec.merge else "none"]["mIoU"]
    return None if before is None else after - before
