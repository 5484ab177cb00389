"""Proxy quality against loops over pixels, thresholds and pairs of masks."""

import json

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.evaluation.guard import GuardError
from wsis.methods.boxcaseg.proxy_quality import (
    FRONTS,
    THRESHOLDS,
    in_front,
    predicted_images,
    proxy_quality,
    ranking,
)

H, W = 24, 30


def encode(mask):
    return masks.encode(np.asfortranarray(mask, dtype=np.uint8))


def rectangle(x, y, w, h):
    mask = np.zeros((H, W), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def scenes(seed, images=5):
    """Images of raw masks, the true masks as arrays, and everything the loops need."""
    rng = np.random.default_rng(seed)
    found, truth, flat = [], {}, []
    for image in range(images):
        objects = []
        for number in range(int(rng.integers(0, 5))):
            w, h = (int(v) for v in rng.integers(3, 18, 2))
            x, y = int(rng.integers(0, W - w)), int(rng.integers(0, H - h))
            true = rectangle(x, y, w, h)
            made = true & (rng.random((H, W)) < rng.choice([0.6, 0.9, 1.0]))
            id = 10 * image + number + 1
            truth[id] = true
            entry = {"annotation_id": id, "category_id": int(rng.integers(1, 4)), "bbox": [x, y, w, h]}
            certainty = float(rng.random())
            objects.append({**entry, "rle": encode(made), "certainty": certainty})
            flat.append({**entry, "image": image, "made": made, "true": true, "certainty": certainty})
        found.append({"image_id": image, "objects": objects})
    return found, truth, flat


def painted(flat, key):
    """Each object's mask after painting its image in ascending order of key, a pixel at a time."""
    result = []
    for entry in flat:
        mask = entry["made"].copy()
        place = flat.index(entry)
        for other_place, other in enumerate(flat):
            if other["image"] != entry["image"] or other is entry:
                continue
            wins = (key(other), other_place) > (key(entry), place)
            for r, c in np.argwhere(mask & other["made"]):
                if wins:
                    mask[r, c] = False
        result.append(mask)
    return result


def area(entry):
    return entry["bbox"][2] * entry["bbox"][3]


KEYS = {
    "box": lambda entry: -area(entry),
    "larger": area,
    "mask": lambda entry: -entry["made"].sum(),
}


def iou(a, b):
    return (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def box_iou(mask, bbox, extra):
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return 0.0
    tight = np.zeros((H + 2, W + 2), bool)
    tight[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    given = np.zeros_like(tight)
    x, y, w, h = bbox
    given[y : y + h + extra, x : x + w + extra] = True
    return iou(tight, given)


@pytest.mark.parametrize("seed", range(4))
def test_merge_drop_and_lower_bound_equal_loops(seed):
    images, truth, flat = scenes(seed)
    result = proxy_quality(images, {id: encode(mask) for id, mask in truth.items()})
    assert result["objects"] == len(flat)
    raw = [iou(entry["made"], entry["true"]) for entry in flat]
    assert result["merge"]["none"]["IoU"] == pytest.approx(100 * np.mean(raw))
    for order, key in KEYS.items():
        values = [iou(m, entry["true"]) for m, entry in zip(painted(flat, key), flat, strict=True)]
        assert result["merge"][order]["IoU"] == pytest.approx(100 * np.mean(values)), order
        by_class = [
            np.mean([v for v, entry in zip(values, flat, strict=True) if entry["category_id"] == label])
            for label in {entry["category_id"] for entry in flat}
        ]
        assert result["merge"][order]["mIoU"] == pytest.approx(100 * np.mean(by_class))

    merged = painted(flat, KEYS["box"])
    values = [iou(m, entry["true"]) for m, entry in zip(merged, flat, strict=True)]
    for extra, convention in enumerate(("exact", "plus_one")):
        agree = [box_iou(m, entry["bbox"], extra) for m, entry in zip(merged, flat, strict=True)]
        rows = result["drop"][convention]
        assert [row["threshold"] for row in rows] == list(THRESHOLDS)
        for row in rows:
            kept = [
                v for v, a in zip(values, agree, strict=True) if a > row["threshold"] or not row["threshold"]
            ]
            assert row["kept"] == len(kept)
            assert row["drop_rate"] == pytest.approx(1 - len(kept) / len(flat))
            if kept:
                assert row["IoU"] == pytest.approx(100 * np.mean(kept))
                assert row["IoU75"] == pytest.approx(100 * np.mean([v > 0.75 for v in kept]))
            else:
                assert row["IoU"] is None
        if convention == "exact":
            below = np.mean([a <= v + 1e-9 for a, v in zip(agree, values, strict=True)])
            assert result["lower_bound"] == pytest.approx(100 * below)
            assert result["ranking"]["agreement"] == ranking(np.array(agree), np.array(values))


def front_by_pixels(entries):
    """Of an image's objects, in whatever order: what the pairs whose boxes share a pixel say, as a set."""
    said = set()
    for behind in entries:
        for front in entries:
            later = front["annotation_id"] > behind["annotation_id"]
            if later and (rectangle(*front["bbox"]) & rectangle(*behind["bbox"])).any():
                excess = area(front) - area(behind)
                said.add("smaller" if excess < 0 else "larger" if excess > 0 else "mixed")
    return None if not said else said.pop() if len(said) == 1 else "mixed"


@pytest.mark.parametrize("seed", range(4))
def test_groups_by_what_is_in_front_equal_loops(seed):
    images, truth, flat = scenes(seed, images=25)
    result = proxy_quality(images, {id: encode(mask) for id, mask in truth.items()}, drawn=True)["front"]
    said = {image["image_id"]: front_by_pixels(image["objects"]) for image in images}
    assert set(said.values()) >= {"smaller", "larger", "mixed", None}  # or this would test less
    made = {order: painted(flat, key) for order, key in KEYS.items()}
    made["none"] = [entry["made"] for entry in flat]
    assert list(result) == list(FRONTS)
    for group, found in result.items():
        own = [i for i, entry in enumerate(flat) if said[entry["image"]] == group]
        assert found["images"] == list(said.values()).count(group)
        assert found["objects"] == len(own)
        for order, merged in made.items():
            values = {}
            for i in own:
                values.setdefault(flat[i]["category_id"], []).append(iou(merged[i], flat[i]["true"]))
            expected = 100 * np.mean([np.mean(of_class) for of_class in values.values()])
            assert found["merge"][order]["mIoU"] == pytest.approx(expected), (group, order)


def test_what_is_in_front_of_few_boxes():
    large, small = [0, 0, 10, 10], [6, 6, 6, 6]
    boxes = np.array([large, small], float)
    assert in_front(boxes, [1, 2]) == in_front(boxes[::-1], [2, 1]) == "smaller"
    assert in_front(boxes, [2, 1]) == in_front(boxes[::-1], [1, 2]) == "larger"
    between = np.array([large, [6, 6, 8, 8], [11, 11, 4, 4]], float)  # the first and the last don't meet
    assert [in_front(between, ids) for ids in ([1, 2, 3], [3, 2, 1], [1, 3, 2])] == [
        "smaller",
        "larger",
        "mixed",
    ]
    assert in_front(np.array([large, large], float), [1, 2]) == "mixed"  # neither is smaller
    beside = np.array([large, [10, 0, 4, 4]], float)
    assert in_front(beside, [1, 2]) is None and in_front(boxes[:1], [1]) is None
    assert in_front(np.zeros((0, 4)), []) is None


def test_photographs_have_no_order_of_depth():
    images, truth, _ = scenes(0)
    assert proxy_quality(images, {id: encode(mask) for id, mask in truth.items()})["front"] is None


def test_merging_helps_the_smaller_in_front_and_harms_it_behind():
    """Two pictures of the same boxes; the network fills both of them, whoever is in front."""
    first, second = rectangle(2, 2, 16, 16), rectangle(10, 10, 12, 12)
    gains = {}
    for group, (behind, front) in {"smaller": (first, second), "larger": (second, first)}.items():
        boxes = {id(first): [2, 2, 16, 16], id(second): [10, 10, 12, 12]}
        objects = [
            {"annotation_id": n, "category_id": 1, "bbox": boxes[id(mask)], "rle": encode(mask)}
            for n, mask in ((1, behind), (2, front))
        ]
        truth = {1: encode(behind & ~front), 2: encode(front)}
        result = proxy_quality([{"image_id": 1, "objects": objects}], truth, drawn=True)["front"]
        assert {name: found["images"] for name, found in result.items()} == dict.fromkeys(FRONTS, 0) | {
            group: 1
        }
        assert result["mixed"]["merge"]["box"]["mIoU"] is None
        gains[group] = {
            order: scores["mIoU"] - result[group]["merge"]["none"]["mIoU"]
            for order, scores in result[group]["merge"].items()
        }
    assert gains["smaller"]["box"] > 0 > gains["smaller"]["larger"]
    assert gains["larger"]["larger"] > 0 > gains["larger"]["box"]


@pytest.mark.parametrize("seed", range(5))
def test_ranking_equals_loops_over_pairs(seed):
    rng = np.random.default_rng(seed)
    ious = rng.random(30).round(1)
    values = (ious + rng.normal(0, 0.4, 30)).round(1)  # with ties
    good = [v for v, i in zip(values, ious, strict=True) if i >= 0.75]
    bad = [v for v, i in zip(values, ious, strict=True) if i < 0.75]
    pairs = [(g > b) + 0.5 * (g == b) for g in good for b in bad]
    found = ranking(values, ious)
    assert found["auc"] == pytest.approx(100 * np.mean(pairs))

    def places(x):
        return np.array([np.mean(np.flatnonzero(np.sort(x) == v)) for v in x])

    a, b = places(values) - 14.5, places(ious) - 14.5
    assert found["spearman"] == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def test_ranking_where_it_is_undefined():
    some = np.array([0.1, 0.9])
    assert ranking(np.zeros(0), np.zeros(0)) == {"spearman": None, "auc": None}
    assert ranking(np.array([np.nan, 1]), some) == {"spearman": None, "auc": None}
    assert ranking(np.ones(2), some) == {"spearman": None, "auc": 50}
    assert ranking(some, np.array([0.8, 0.9])) == {"spearman": pytest.approx(1), "auc": None}


def test_the_smaller_box_in_front_gains_and_the_larger_loses():
    """A small object on a large one; the network's mask of the large one covers both."""
    large, small = rectangle(2, 2, 20, 18), rectangle(6, 6, 8, 8)
    entries = [
        {
            "annotation_id": 1,
            "category_id": 1,
            "bbox": [2, 2, 20, 18],
            "rle": encode(large),
            "certainty": None,
        },
        {"annotation_id": 2, "category_id": 1, "bbox": [6, 6, 8, 8], "rle": encode(small), "certainty": None},
    ]
    truth = {1: encode(large & ~small), 2: encode(small)}
    result = proxy_quality([{"image_id": 1, "objects": entries}], truth)
    merge = {order: scores["IoU"] for order, scores in result["merge"].items()}
    assert merge["box"] == merge["mask"] == 100
    assert merge["larger"] < merge["none"] < 100
    assert merge["random"] in (merge["box"], merge["larger"])
    assert result["lower_bound"] == 100
    assert result["ranking"]["certainty"] == {"spearman": None, "auc": None}


def test_no_object_an_empty_mask_and_crowds():
    result = proxy_quality([{"image_id": 1, "objects": []}], {})
    assert result["objects"] == 0
    assert result["merge"]["box"] == {"IoU": None, "mIoU": None, "IoU50": None, "IoU75": None}
    assert result["drop"]["exact"][0]["drop_rate"] is None
    assert result["lower_bound"] is None
    true = rectangle(1, 1, 5, 5)
    empty = {"annotation_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "rle": encode(true & ~true)}
    crowd = {"annotation_id": 2, "category_id": 1, "bbox": [1, 1, 5, 5], "iscrowd": 1}
    result = proxy_quality([{"image_id": 1, "objects": [crowd, empty]}], {1: encode(true)})
    assert result["objects"] == 1
    assert result["merge"]["none"]["IoU"] == 0
    assert [row["kept"] for row in result["drop"]["exact"]] == [1, 0, 0, 0, 0]


def test_masks_of_other_annotations_are_refused():
    images, _, _ = scenes(1)
    with pytest.raises(GuardError, match="no true mask of annotation"):
        proxy_quality(images, {})


def test_a_predictions_file_gives_the_same(tmp_path):
    images, truth, flat = scenes(2)
    text = lambda rle: {"size": rle["size"], "counts": rle["counts"].decode()}  # noqa: E731
    predictions = [
        {
            "image_id": entry["image"] + 1,
            "category_id": entry["category_id"],
            "score": entry["certainty"],
            "segmentation": text(encode(entry["made"])),
            "annotation_id": entry["annotation_id"],
        }
        for entry in reversed(flat)
    ]
    annotations = [
        {
            "id": entry["annotation_id"],
            "image_id": entry["image"] + 1,
            "category_id": entry["category_id"],
            "bbox": entry["bbox"],
            "area": int(entry["true"].sum()),
            "iscrowd": 0,
            "segmentation": text(encode(entry["true"])),
        }
        for entry in flat
    ]
    listed = [{"id": n + 1, "height": H, "width": W, "file_name": "x"} for n in range(5)]
    categories = [{"id": n, "name": str(n)} for n in (1, 2, 3)]
    gt, made = tmp_path / "gt.json", tmp_path / "predictions.json"
    gt.write_text(json.dumps({"images": listed, "annotations": annotations, "categories": categories}))
    made.write_text(json.dumps(predictions))
    found, outlines = predicted_images(made, gt)
    assert len(outlines) == len(flat)
    assert set(outlines) == set(truth)
    renamed = [{**image, "image_id": image["image_id"] + 1} for image in images]
    expected = proxy_quality(renamed, {id: encode(mask) for id, mask in truth.items()})
    assert proxy_quality(found, outlines) == expected
    predictions[0]["annotation_id"] = 999
    made.write_text(json.dumps(predictions))
    with pytest.raises(GuardError, match="annotation_id 999"):
        predicted_images(made, gt)
