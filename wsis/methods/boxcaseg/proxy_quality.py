"""Quality of proxy masks against the true ones: what merging and dropping do to them (BoxCaseg, Sec. 3.4).

N objects of all images. It needs a trained network's masks only and tells apart what a short Mask R-CNN
training can't. Values are per cent; "IoU" is the mean over objects, "mIoU" the mean over classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from wsis.evaluation.class_agnostic import overlap_metrics, paired_ious
from wsis.evaluation.guard import GuardError, Truth, read_predictions, read_truth
from wsis.evaluation.rle import truth_rle
from wsis.proxy.agreement import Convention, agreements, dropped
from wsis.proxy.merge import Order, merge

ORDERS: tuple[Order, ...] = ("box", "mask", "larger", "random")
CONVENTIONS: tuple[Convention, ...] = ("exact", "plus_one")
FRONTS = ("smaller", "larger", "mixed")  # which box of overlapping ones belongs to the object in front
THRESHOLDS = (0.0, 0.75, 0.85, 0.90, 0.95)  # Table 8
GOOD = 0.75  # IoU that the AUC tells from less
_EPS = 1e-9  # of comparing two ratios


def proxy_quality(
    images: Iterable[dict[str, Any]],
    truth: Mapping[int, dict],
    seed: int = 0,
    strict: bool = True,
    drawn: bool = False,
) -> dict[str, Any]:
    """What merging and dropping do to raw masks, and what tells good ones from bad ones.

    images: as `wsis.proxy.generate.read_proxies` gives them; crowd regions are left out
    truth:  annotation id -> the object's visible mask, compressed RLE
    seed:   of the random order; strict: IoU50 and IoU75 count only IoUs above the threshold
    drawn:  an image's objects were drawn in the order of their annotation ids, the later ones over the
            earlier ones, as in generated roots; what is in front in photographs, annotations don't tell

    objects     N
    merge       {"none", "box", "mask", "larger", "random": who wins -> IoU, mIoU, IoU50, IoU75}
    front       {"smaller", "larger", "mixed": {images, objects, merge (as above)}}: of the images that
                `in_front` says this of, all their objects; None where `drawn` is false
    drop        {"exact", "plus_one": [{threshold, drop_rate, kept, IoU, mIoU, IoU50, IoU75} a threshold]} of
                masks merged by "box"; IoUs are those of the kept masks, None where none is kept
    ranking     {"agreement" (exact), "certainty": {"spearman": with the IoU, -1 to 1, "auc": per cent of the
                pairs of IoU >= 0.75 and less in order}}; None where undefined, or a mask has no certainty
    lower_bound per cent of the objects whose agreement (exact) is at most their IoU, as the paper says of all

    Raises GuardError for a mask of an object that `truth` doesn't have.
    """
    labels: list[int] = []
    certainty: list[float] = []
    ious: dict[str, list[np.ndarray]] = {order: [] for order in ("none", *ORDERS)}
    agree: dict[str, list[np.ndarray]] = {convention: [] for convention in CONVENTIONS}
    fronts: list[tuple[str | None, int]] = []  # and the number of objects, by image
    for image in images:
        objects = [entry for entry in image["objects"] if not entry.get("iscrowd")]
        for entry in objects:
            if entry["annotation_id"] not in truth:
                raise GuardError(
                    f"proxy masks of image {image['image_id']}: no true mask of annotation"
                    f" {entry['annotation_id']}; they were made for other annotations"
                )
        outlines = [truth[entry["annotation_id"]] for entry in objects]
        raw = [entry["rle"] for entry in objects]
        bboxes = np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(-1, 4)
        fronts.append((in_front(bboxes, [entry["annotation_id"] for entry in objects]), len(objects)))
        rng = np.random.default_rng([seed, image["image_id"]])
        merged = {order: merge(raw, bboxes, order, rng) for order in ORDERS}
        for order, found in (("none", raw), *merged.items()):
            ious[order].append(paired_ious(found, outlines))
        for convention in CONVENTIONS:
            agree[convention].append(agreements(merged["box"], bboxes, convention))
        labels += [entry["category_id"] for entry in objects]
        values = [entry.get("certainty") for entry in objects]
        certainty += [np.nan if value is None else value for value in values]
    classes = np.array(labels, dtype=np.int64)
    flat = {order: np.concatenate([np.zeros(0), *parts]) for order, parts in ious.items()}
    scores = {convention: np.concatenate([np.zeros(0), *parts]) for convention, parts in agree.items()}
    below = scores["exact"] <= flat["box"] + _EPS
    return {
        "objects": len(classes),
        "merge": {order: _overlaps(values, classes, strict) for order, values in flat.items()},
        "front": _by_front(fronts, flat, classes, strict) if drawn else None,
        "drop": {
            convention: [_kept(flat["box"], classes, values, t, strict) for t in THRESHOLDS]
            for convention, values in scores.items()
        },
        "ranking": {
            "agreement": ranking(scores["exact"], flat["box"]),
            "certainty": ranking(np.array(certainty, dtype=np.float64), flat["box"]),
        },
        "lower_bound": 100.0 * float(below.mean()) if len(below) else None,
    }


def in_front(bboxes: np.ndarray, drawn: Sequence[int]) -> str | None:
    """Where the objects of an image overlap, whose box is in front: the "smaller", the "larger", or "mixed".

    bboxes: N x 4, the given boxes as merging compares them (COCO's [x, y, width, height])
    drawn:  N, when each object was drawn: of two, the later one is in front

    All pairs of boxes that share a pixel count, since proxy masks lie inside their boxes: these are the
    pairs that merging may decide. "smaller" and "larger" mean in every one of them; of boxes of one size
    neither is. None where no two boxes overlap. Neighbours that share a border and hide nothing of one
    another, which only the kind `texture` has, count like the others.
    """
    low, high = bboxes[:, :2], bboxes[:, :2] + bboxes[:, 2:]
    pairs = ((low[:, None] < high) & (low < high[:, None])).all(2)
    pairs &= np.greater.outer(drawn, drawn)  # row: in front of column
    areas = bboxes[:, 2:].prod(1)
    excess = np.subtract.outer(areas, areas)[pairs]
    if len(excess) == 0:
        return None
    return "smaller" if (excess < 0).all() else "larger" if (excess > 0).all() else "mixed"


def _by_front(
    fronts: Sequence[tuple[str | None, int]],
    ious: Mapping[str, np.ndarray],
    classes: np.ndarray,
    strict: bool,
) -> dict[str, Any]:
    """The IoUs (N, by order) of each group of images; fronts: what is in front, and objects, by image."""
    found = np.repeat([str(front) for front, _ in fronts], [count for _, count in fronts])
    groups = {}
    for name in FRONTS:
        own = found == name
        groups[name] = {
            "images": sum(front == name for front, _ in fronts),
            "objects": int(own.sum()),
            "merge": {order: _overlaps(values[own], classes[own], strict) for order, values in ious.items()},
        }
    return groups


def predicted_images(predictions: Path, annotations: Path) -> tuple[list[dict[str, Any]], TrueMasks]:
    """Images and true masks, as `proxy_quality` takes them, of a file of masks for ground-truth boxes.

    predictions: COCO results with `annotation_id`, a mask an object (protocol class-agnostic); the score is
                 the certainty. Raises GuardError naming the file and entry.
    """
    truth = read_truth(annotations)
    objects = {entry["id"]: entry for entry in truth.annotations}
    images: dict[int, list[dict[str, Any]]] = {}
    for entry in read_predictions(predictions, truth):
        target = objects.get(entry.get("annotation_id"))
        if target is None or target["image_id"] != entry["image_id"]:
            raise GuardError(
                f"{predictions}: mask with annotation_id {entry.get('annotation_id')} on image"
                f" {entry['image_id']}: no such object"
            )
        if target["iscrowd"]:
            continue
        made = {
            "annotation_id": target["id"],
            "category_id": target["category_id"],
            "bbox": target["bbox"],
            "rle": entry["segmentation"],
            "certainty": entry["score"],
        }
        images.setdefault(entry["image_id"], []).append(made)
    # In the ground truth's order: of two boxes of one size the later wins.
    found = [
        {"image_id": id, "objects": sorted(objects, key=lambda made: made["annotation_id"])}
        for id, objects in sorted(images.items())
    ]
    return found, TrueMasks(truth)


class TrueMasks(Mapping[int, dict]):
    """Annotation id -> compressed RLE of every object of a ground truth; made when it is asked for."""

    def __init__(self, truth: Truth) -> None:
        self._sizes = truth.sizes
        self._entries = {entry["id"]: entry for entry in truth.annotations if not entry["iscrowd"]}

    def __getitem__(self, id: int) -> dict:
        entry = self._entries[id]
        return truth_rle(entry["segmentation"], self._sizes[entry["image_id"]])

    def __contains__(self, id: object) -> bool:
        return id in self._entries

    def __iter__(self) -> Iterator[int]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def ranking(values: np.ndarray, ious: np.ndarray) -> dict[str, float | None]:
    """How well N values order N masks by IoU: spearman (ties averaged) and auc (ties half, per cent)."""
    if not np.isfinite(values).all():
        return {"spearman": None, "auc": None}
    places = rankdata(values)
    spearman = auc = None
    if len(values) > 1 and np.ptp(values) > 0 and np.ptp(ious) > 0:
        spearman = float(np.corrcoef(places, rankdata(ious))[0, 1])
    good = ious >= GOOD
    positive, negative = int(good.sum()), int((~good).sum())
    if positive and negative:
        above = places[good].sum() - positive * (positive + 1) / 2
        auc = float(100 * above / (positive * negative))
    return {"spearman": spearman, "auc": auc}


def _kept(
    ious: np.ndarray, classes: np.ndarray, values: np.ndarray, threshold: float, strict: bool
) -> dict[str, Any]:
    keep = ~dropped(values, threshold)
    kept = int(keep.sum())
    return {
        "threshold": threshold,
        "drop_rate": 1 - kept / len(keep) if len(keep) else None,
        "kept": kept,
        **_overlaps(ious[keep], classes[keep], strict),
    }


def _overlaps(ious: np.ndarray, classes: Sequence[int], strict: bool) -> dict[str, float | None]:
    mean = 100.0 * float(ious.mean()) if len(ious) else None
    return {"IoU": mean, **overlap_metrics(ious, classes, strict)}
