"""Proxy-mask quality of rows: against loops over dense masks, and the whole command on drawn images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as masks

from tests.methods.measuring import draw
from wsis.declare.specs.parents import ProxySpec
from wsis.errors import WsisError
from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.rle import truth_rle
from wsis.files import read_json, write_json
from wsis.flow.jobs import measure
from wsis.measures.wanted import wanted
from wsis.methods.boxcaseg.measures import rules_of, setting
from wsis.methods.boxcaseg.proxy_quality import THRESHOLDS, proxy_quality
from wsis.methods.boxcaseg.proxy_rows import _values, row_quality
from wsis.plan import make_plan

H, W = 20, 26


def encode(mask: np.ndarray) -> dict:
    return masks.encode(np.asfortranarray(mask, dtype=np.uint8))


def rectangle(x: int, y: int, w: int, h: int) -> np.ndarray:
    mask = np.zeros((H, W), bool)
    mask[y : y + h, x : x + w] = True
    return mask


def scenes(seed: int, images: int = 6):
    """Raw masks by image, the true ones encoded, and (image, entry, raw, true) of every object."""
    rng = np.random.default_rng(seed)
    found, truth, flat = [], {}, []
    for image in range(images):
        objects = []
        for number in range(int(rng.integers(0, 5))):
            w, h = (int(v) for v in rng.integers(3, 15, 2))
            x, y = int(rng.integers(0, W - w)), int(rng.integers(0, H - h))
            true = rectangle(x, y, w, h) & (rng.random((H, W)) < 0.9)
            raw = rectangle(x, y, w, h) & (rng.random((H, W)) < rng.choice([0.3, 0.9, 1.0]))
            entry = {"annotation_id": 10 * image + number, "category_id": int(rng.integers(1, 4))}
            entry |= {"bbox": [x, y, w, h], "rle": encode(raw), "certainty": float(rng.random())}
            objects.append(entry)
            truth[entry["annotation_id"]] = encode(true)
            flat.append((image, entry, raw, true))
        found.append({"image_id": image, "objects": objects})
    return found, truth, flat


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum() if (a | b).any() else 0.0


def merged(flat, order: str) -> list[np.ndarray]:
    """Painted one over another, image by image: the last painter of a pixel owns it."""
    sign = 1 if order == "larger" else -1
    area = [sign * entry["bbox"][2] * entry["bbox"][3] for _, entry, _, _ in flat]
    owner = {image: np.full((H, W), -1) for image, *_ in flat}
    for place in sorted(range(len(flat)), key=lambda place: area[place]):
        image, _, raw, _ = flat[place]
        owner[image][raw] = place
    return [owner[image] == place for place, (image, *_) in enumerate(flat)]


def box_agreement(mask: np.ndarray, bbox: list[int], extra: int) -> float:
    rows, columns = np.nonzero(mask)
    if len(rows) == 0:
        return 0.0
    tight, given = np.zeros((H + 2, W + 2), bool), np.zeros((H + 2, W + 2), bool)
    tight[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    x, y, w, h = bbox
    given[y : y + h + extra, x : x + w + extra] = True
    return iou(tight, given)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["none", "box", "larger"])
def test_every_number_by_loops(seed, order):
    images, truth, flat = scenes(seed)
    specs = [
        ProxySpec(parent="p", merge=order != "none", order="box" if order == "none" else order, drop=drop)
        for drop in (None, 0.7, 0.9)
    ]
    found = row_quality(images, truth, specs)
    made = [raw for _, _, raw, _ in flat] if order == "none" else merged(flat, order)
    ious = [iou(mask, true) for mask, (_, _, _, true) in zip(made, flat, strict=True)]
    labels = [entry["category_id"] for _, entry, _, _ in flat]

    def by_class(kept: list[int]) -> float:
        groups = [[ious[i] for i in kept if labels[i] == label] for label in {labels[i] for i in kept}]
        return 100 * np.mean([np.mean(group) for group in groups])

    everything = list(range(len(flat)))
    for spec in specs:
        scores = found[setting(spec)]
        assert scores["merged"]["mIoU"] == pytest.approx(by_class(everything))
        assert scores["merged"]["IoU"] == pytest.approx(100 * np.mean(ious))
        for extra, how in enumerate(("exact", "plus_one")):
            agree = [
                box_agreement(mask, entry["bbox"], extra)
                for mask, (_, entry, _, _) in zip(made, flat, strict=True)
            ]
            kept = [i for i in everything if spec.drop is None or agree[i] > spec.drop]
            part = scores["kept"][how]
            assert part["kept"] == len(kept)
            assert part["drop_rate"] == pytest.approx(1 - len(kept) / len(flat))
            if kept:
                assert part["mIoU"] == pytest.approx(by_class(kept))
                assert part["IoU75"] == pytest.approx(100 * np.mean([ious[i] > 0.75 for i in kept]))
            if how == "exact":
                below = [value <= overlap + 1e-9 for value, overlap in zip(agree, ious, strict=True)]
                assert scores["lower_bound"] == pytest.approx(100 * np.mean(below))


def test_the_papers_rule_is_that_of_the_general_measurement():
    images, truth, _ = scenes(5)
    general = proxy_quality(images, truth)
    found = row_quality(images, truth, [ProxySpec(parent="p", drop=drop) for drop in THRESHOLDS])
    for place, drop in enumerate(THRESHOLDS):
        scores = found[setting(ProxySpec(parent="p", drop=drop))]
        for how in ("exact", "plus_one"):
            expected = general["drop"][how][place]
            assert scores["kept"][how] | {"threshold": drop} == pytest.approx(expected)
        assert scores["merged"] == pytest.approx(general["merge"]["box"])
        assert scores["ranking"] == general["ranking"] and scores["lower_bound"] == general["lower_bound"]
    drawn = row_quality(images, truth, [ProxySpec(parent="p", order="random", drop=None)], 0)
    assert drawn["random, 0, plus_one"]["merged"] == pytest.approx(general["merge"]["random"])


def test_rows_with_one_quality_share_a_setting():
    def name(**over) -> str:
        return setting(ProxySpec(parent="p", **over))

    assert name(drop=None, agreement="exact") == name(drop=0.0, agreement="exact") == "box, 0, exact"
    assert name(agreement="exact") != name(agreement="plus_one") == "box, 0.95, plus_one"
    assert name(merge=False, order="larger") == name(merge=False, order="mask")
    assert len({name(order=order) for order in ("box", "mask", "random", "larger")}) == 4


def test_nothing_to_measure_is_undefined():
    spec = ProxySpec(parent="p")
    for images in ([], [{"image_id": 1, "objects": []}]):
        (scores,) = row_quality(images, {}, [spec]).values()
        assert scores["merged"]["mIoU"] is None and scores["lower_bound"] is None
        assert scores["kept"]["exact"] == dict.fromkeys(("drop_rate", "IoU", "mIoU", "IoU50", "IoU75")) | {
            "kept": 0
        }
    empty = {"annotation_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "certainty": 1.0}
    empty["rle"] = encode(np.zeros((H, W)))
    images = [{"image_id": 1, "objects": [empty]}]
    (scores,) = row_quality(images, {1: encode(rectangle(1, 1, 4, 4))}, [spec]).values()
    assert scores["merged"]["mIoU"] == 0 and scores["kept"]["exact"]["mIoU"] is None
    assert scores["kept"]["exact"]["drop_rate"] == 1


GAINS = {
    "none": 0.0,
    "box": 2.0,
    "mask": 1.5,
    "larger": -3.0,
    "random": -1.0,
}  # where the smaller is in front


def general(front: bool = True) -> dict:
    """What `proxy_quality` might say; no image has the larger box in front."""
    merged = {order: {"mIoU": 70.0 + gain} for order, gain in GAINS.items()}
    fronts = {"smaller": {"merge": merged}, "larger": {"merge": {order: {"mIoU": None} for order in GAINS}}}
    return {"merge": merged, "front": fronts if front else None}


@pytest.mark.parametrize("order", GAINS)
def test_a_rows_values_are_those_of_its_own_rules(order):
    """Its order of merging; its own convention of the agreement where none is named."""
    images, truth, _ = scenes(0)
    merging = {"merge": False} if order == "none" else {"order": order}
    for agreement in ("exact", "plus_one"):
        spec = ProxySpec(parent="p", drop=0.7, agreement=agreement, **merging)
        scores = row_quality(images, truth, [spec])[setting(spec)]
        values = _values(scores, general(), spec)
        assert values["proxy_mIoU_raw"] == 70.0 and values["proxy_mIoU"] == scores["merged"]["mIoU"]
        assert values["merge_gain_front"] == GAINS[order] and values["merge_gain_behind"] is None
        for measured in ("kept_mIoU", "kept_IoU75", "proxy_drop"):
            assert values[measured] == values[f"{measured}_{agreement}"]
            assert values[f"{measured}_exact"] != values[f"{measured}_plus_one"]
        assert values["proxy_drop"] == 100 * scores["kept"][agreement]["drop_rate"]
        assert values["agreement_below"] + values["agreement_above"] == 100
        assert _values(scores, general(front=False), spec)["merge_gain_front"] is None


@pytest.fixture
def smoke(tmp_path):
    """A drawn root and a first stage that looks finished: its masks are the boxes' upper parts."""
    plan = make_plan("smoke")
    id = plan.runs[plan.row_runs("boxcaseg/7", "PASCAL")[0]].recipe.proxy.parent
    drawn = draw(id, tmp_path)
    annotations = drawn.root.path / "annotations" / "instances_val.json"
    truth = read_json(annotations)
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    predictions = []
    for entry in truth["annotations"]:
        mask = masks.decode(truth_rle(entry["segmentation"], sizes[entry["image_id"]]))
        rows = np.flatnonzero(mask.any(1))
        mask[rows[int(len(rows) * 0.9) :]] = 0
        rle = encode(mask)
        predictions.append({
            "image_id": entry["image_id"], "category_id": entry["category_id"], "score": 0.5,
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
            "annotation_id": entry["id"],
        })  # fmt: skip
    folder = drawn.finish(id, predictions)
    keys = wanted(plan, plan.tables)["proxy"]
    return SimpleNamespace(drawn=drawn, id=id, keys=keys, folder=folder, annotations=annotations)


def test_the_command_writes_every_setting_of_a_first_stage(smoke, capsys):
    content = smoke.drawn.measure("proxy", smoke.id)
    cases, details, eval = smoke.keys[smoke.id], content["details"], smoke.drawn.root.eval
    assert len(cases) >= 5 and {*content["values"]} == {*cases}
    assert {case.rpartition(",")[0] for case in cases} >= {
        "box, 0", "none, 0", "box, 0.95", "larger, 0", "random, 0"
    }  # fmt: skip
    assert details["images"] == len(eval)
    assert details["objects"] == sum(not i.crowd for p in eval for i in p.instances)
    metrics = evaluate_class_agnostic(smoke.folder / "predictions.json", smoke.annotations, None)["metrics"]
    raw = details["merge"]["none"]
    assert {name: raw[name] for name in metrics} == pytest.approx(metrics)
    plain = next(values for case, values in content["values"].items() if case.startswith("none, 0,"))
    assert plain["proxy_mIoU"] == plain["proxy_mIoU_raw"] == pytest.approx(raw["mIoU"])
    overlapping = {}  # images with a pair of overlapping boxes, and their objects
    for picture in eval:
        covers = np.zeros((picture.height, picture.width), int)
        for instance in picture.instances:
            x1, y1, x2, y2 = (int(side) for side in instance.box)
            covers[y1:y2, x1:x2] += 1
        if covers.max() > 1:
            overlapping[picture.id] = len(picture.instances)
    fronts = details["front"].values()
    assert overlapping and sum(group["images"] for group in fronts) == len(overlapping)
    assert sum(group["objects"] for group in fronts) == sum(overlapping.values())
    assert f"{smoke.id}.json" in capsys.readouterr().out


def test_a_baseline_is_measured_as_it_is(smoke):
    """Boxes as masks: they agree with their boxes entirely, whatever their IoU."""
    (id,) = smoke.drawn.plan.row_runs("boxcaseg/7", "PASCAL, boxes as masks").values()
    ((case, asked),) = smoke.keys[id].items()
    spec = rules_of(asked.recipe)
    assert spec.parent == id and case == setting(spec) and case.startswith("none, 0,")
    boxes = {entry["id"]: entry["bbox"] for entry in read_json(smoke.annotations)["annotations"]}
    predictions = read_json(smoke.folder / "predictions.json")
    for entry in predictions:
        (rle,) = masks.frPyObjects(
            np.array([boxes[entry["annotation_id"]]], np.float64), *entry["segmentation"]["size"]
        )
        entry["segmentation"]["counts"] = rle["counts"].decode()
    folder = smoke.drawn.finish(id, predictions)
    values = smoke.drawn.measure("proxy", id)["values"][case]
    metrics = evaluate_class_agnostic(folder / "predictions.json", smoke.annotations, None)["metrics"]
    assert values["proxy_mIoU"] == pytest.approx(metrics["mIoU"])
    assert values["agreement_below"] < 50 and values["proxy_drop_exact"] == 0


def test_what_cannot_be_measured_is_refused(smoke):
    def refused(*words: str, match: str) -> None:
        with pytest.raises(WsisError, match=match):
            measure(smoke.drawn.plan, words, smoke.drawn.results, None)

    other = next(run for run in smoke.drawn.plan.runs if run not in smoke.keys)
    refused("proxy", other, match=f"{other}: neither a table nor what proxy measures at smoke")
    untrained = next(key for key in smoke.keys if key != smoke.id)
    refused(untrained, match=rf"train\.json: no such file; train {untrained} first")
    refused("boundary", match="nothing to measure at smoke")
    file = smoke.folder / "predictions.json"
    first, *others = read_json(file)
    write_json(file, others)
    refused(smoke.id, match=f"no mask for 1 objects, the first with id {first['annotation_id']}")
    data = {"root_name": "other", "fingerprint": "0", "classes": "0"}
    write_json(smoke.folder / "train.json", {"recipe": smoke.id, "data": data})
    refused(smoke.id, match="was trained on other")
