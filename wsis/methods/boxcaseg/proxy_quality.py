"""Quality of proxy masks against the true ones: what merging and dropping do to them (BoxCaseg, Sec. 3.4).

N objects of all images. It needs a trained network's masks only and tells apart what a short Mask R-CNN
training can't. Values are per cent; "IoU" is the mean over objects, "mIoU" the mean over classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from wsis.evaluation.class_agnostic import overlap_metrics, paired_ious
from wsis.evaluation.guard import GuardError, Truth, read_predictions, read_truth
from wsis.evaluation.rle import truth_rle
from wsis.methods.boxcaseg.measures import RAW
from wsis.proxy.agreement import Convention, agreements, dropped
from wsis.proxy.merge import Order, merge

ORDERS: tuple[Order, ...] = ("box", "mask", "larger", "random")
CONVENTIONS: tuple[Convention, ...] = ("exact", "plus_one")
FRONTS = ("smaller", "larger", "mixed")  # which box of overlapping ones belongs to the object in front
THRESHOLDS = (0.0, 0.75, 0.85, 0.90, 0.95)  # Table 8
GOOD = 0.75  # IoU that the AUC tells from less
_EPS = 1e-9  # of comparing two ratios


@dataclass
class Scored:
    """N masks merged in several orders ("none": not at all), and compared with the true ones.

    ious:      order -> N IoUs, 0 to 1
    agreement: (order, convention) -> N, of the merged masks
    classes:   N category ids
    certainty: N, NaN where a mask has none
    """

    ious: dict[str, np.ndarray]
    agreement: dict[tuple[str, Convention], np.ndarray]
    classes: np.ndarray
    certainty: np.ndarray

    def overlaps(self, order: str, chosen: np.ndarray | slice = slice(None)) -> dict[str, float | None]:
        """IoU, mIoU, IoU50 and IoU75 of the chosen masks; None without any."""
        ious = self.ious[order][chosen]
        mean = 100.0 * float(ious.mean()) if len(ious) else None
        return {"IoU": mean, **overlap_metrics(ious, self.classes[chosen])}

    def kept(self, order: str, convention: Convention, threshold: float | None) -> dict[str, Any]:
        """drop_rate (0 to 1, None without masks), kept (how many), and the overlaps of those."""
        keep = ~dropped(self.agreement[order, convention], threshold)
        kept = int(keep.sum())
        rate = 1 - kept / len(keep) if len(keep) else None
        return {"drop_rate": rate, "kept": kept, **self.overlaps(order, keep)}

    def told_apart(self, order: str) -> dict[str, Any]:
        """ranking and lower_bound, as in `proxy_quality`, of the masks merged in this order."""
        exact, ious = self.agreement[order, "exact"], self.ious[order]
        below = exact <= ious + _EPS
        return {
            "ranking": {"agreement": ranking(exact, ious), "certainty": ranking(self.certainty, ious)},
            "lower_bound": 100.0 * float(below.mean()) if len(below) else None,
        }


def score(
    images: Iterable[dict[str, Any]], truth: Mapping[int, dict], orders: Iterable[str], seed: int
) -> Scored:
    """Merge the raw masks of `images` in each of `orders`; arguments and errors as of `proxy_quality`."""
    ious: dict[str, list[np.ndarray]] = {order: [np.zeros(0)] for order in orders}
    agreement = {(order, convention): [np.zeros(0)] for order in ious for convention in CONVENTIONS}
    classes: list[int] = []
    certainty: list[float | None] = []
    for image in images:
        objects = _objects(image)
        for entry in objects:
            if entry["annotation_id"] not in truth:
                raise GuardError(
                    f"proxy masks of image {image['image_id']}: no true mask of annotation"
                    f" {entry['annotation_id']}; they were made for other annotations"
                )
        outlines = [truth[entry["annotation_id"]] for entry in objects]
        raw, bboxes = [entry["rle"] for entry in objects], _bboxes(objects)
        for order in ious:
            rng = np.random.default_rng([seed, image["image_id"]])
            masks = raw if order == RAW else merge(raw, bboxes, order, rng)
            ious[order].append(paired_ious(masks, outlines))
            for convention in CONVENTIONS:
                agreement[order, convention].append(agreements(masks, bboxes, convention))
        classes += [entry["category_id"] for entry in objects]
        certainty += [entry.get("certainty") for entry in objects]
    return Scored(
        {order: np.concatenate(parts) for order, parts in ious.items()},
        {key: np.concatenate(parts) for key, parts in agreement.items()},
        np.array(classes, dtype=np.int64),
        np.array(certainty, dtype=np.float64),
    )


def proxy_quality(
    images: Sequence[dict[str, Any]], truth: Mapping[int, dict], seed: int = 0, drawn: bool = False
) -> dict[str, Any]:
    """What merging and dropping do to raw masks, and what tells good ones from bad ones.

    images: as `wsis.proxy.generate.read_proxies` gives them; crowd regions are left out
    truth:  annotation id -> the object's visible mask, compressed RLE
    seed:   of the random order
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
    scored = score(images, truth, (RAW, *ORDERS), seed)
    return {
        "objects": len(scored.classes),
        "merge": {order: scored.overlaps(order) for order in scored.ious},
        "front": _by_front(images, scored) if drawn else None,
        "drop": {
            convention: [{"threshold": t, **scored.kept("box", convention, t)} for t in THRESHOLDS]
            for convention in CONVENTIONS
        },
        **scored.told_apart("box"),
    }


def _objects(image: dict[str, Any]) -> list[dict[str, Any]]:
    """The image's entries that are no crowd regions."""
    return [entry for entry in image["objects"] if not entry.get("iscrowd")]


def _bboxes(objects: Sequence[dict[str, Any]]) -> np.ndarray:
    """N x 4 float64."""
    return np.array([entry["bbox"] for entry in objects], dtype=np.float64).reshape(-1, 4)


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


def _by_front(images: Sequence[dict[str, Any]], scored: Scored) -> dict[str, Any]:
    """The overlaps of each group of images, by what is in front."""
    objects = [_objects(image) for image in images]
    fronts = [in_front(_bboxes(entries), [e["annotation_id"] for e in entries]) for entries in objects]
    of_object = np.repeat([str(front) for front in fronts], [len(entries) for entries in objects])
    groups = {}
    for name in FRONTS:
        chosen = of_object == name
        groups[name] = {
            "images": fronts.count(name),
            "objects": int(chosen.sum()),
            "merge": {order: scored.overlaps(order, chosen) for order in scored.ious},
        }
    return groups


def predicted_images(predictions: Path, annotations: Path) -> tuple[list[dict[str, Any]], TrueMasks]:
    """Images and true masks, as `proxy_quality` takes them, of a file of masks for ground-truth boxes.

    predictions: COCO results with `annotation_id`, a mask an object (protocol class-agnostic); the score is
                 the certainty. Raises GuardError naming the file and entry.
    """
    truth = read_truth(annotations)
    targets = {entry["id"]: entry for entry in truth.annotations}
    images: dict[int, list[dict[str, Any]]] = {}
    for entry in read_predictions(predictions, truth):
        target = targets.get(entry.get("annotation_id"))
        if target is None or target["image_id"] != entry["image_id"]:
            raise GuardError(
                f"{predictions}: mask with annotation_id {entry.get('annotation_id')} on image"
                f" {entry['image_id']}: no such object"
            )
        if target["iscrowd"]:
            continue
        masked = {
            "annotation_id": target["id"],
            "category_id": target["category_id"],
            "bbox": target["bbox"],
            "rle": entry["segmentation"],
            "certainty": entry["score"],
        }
        images.setdefault(entry["image_id"], []).append(masked)
    # In the ground truth's order: of two boxes of one size the later wins.
    sorted_images = [
        {"image_id": id, "objects": sorted(objects, key=lambda masked: masked["annotation_id"])}
        for id, objects in sorted(images.items())
    ]
    return sorted_images, TrueMasks(truth)


class TrueMasks(Mapping[int, dict]):
    """Annotation id -> compressed RLE of every object of a ground truth, computed on access."""

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
