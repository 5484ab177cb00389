"""Proxy-mask quality of rows: against loops over dense masks, and the whole command on drawn images."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as masks

from wsis.data.places import run_root
from wsis.data.roots import open_root
from wsis.declare.recipe import ProxySpec
from wsis.errors import WsisError
from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.rle import truth_rle
from wsis.files import read_json, write_json
from wsis.jobs import make_data
from wsis.methods.boxcaseg.measures import measure_proxies, proxy_specs
from wsis.methods.boxcaseg.proxy_quality import THRESHOLDS, proxy_quality
from wsis.methods.boxcaseg.proxy_rows import row_quality
from wsis.methods.boxcaseg.proxy_setting import setting
from wsis.plan import make_plan
from wsis.provenance import proxy_hash

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
    assert drawn["random, 0"]["merged"] == pytest.approx(general["merge"]["random"])


def test_rows_with_one_quality_share_a_setting():
    def name(**over) -> str:
        return setting(ProxySpec(parent="p", **over))

    assert name(drop=None) == name(drop=0.0) == "box, 0"
    assert name(agreement="exact") == name(agreement="plus_one") == "box, 0.95"
    assert name(merge=False, order="larger") == name(merge=False, order="mask") == "none, 0.95"
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


@pytest.fixture
def smoke(tmp_path):
    """A drawn root and a first stage that looks finished: its masks are the boxes' upper parts."""
    plan = make_plan("smoke")
    specs = proxy_specs(plan)
    id = plan.runs[plan.row_runs("boxcaseg/7", "PASCAL")[0]].recipe.proxy.parent
    recipe = plan.runs[id].recipe
    make_data(plan, tmp_path, next(job.data for job in plan.jobs if id in job.runs))
    root = open_root(recipe, run_root(recipe, tmp_path, "smoke", None))
    truth = read_json(root.path / "annotations" / "instances_val.json")
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
    folder = tmp_path / "smoke" / "runs" / id
    folder.mkdir(parents=True)
    write_json(folder / "predictions.json", predictions)
    data = {"root_name": root.name, "fingerprint": root.fingerprint}
    write_json(folder / "train.json", {"weights": "0123", "data": data})
    annotations = root.path / "annotations" / "instances_val.json"
    return SimpleNamespace(
        plan=plan, id=id, specs=specs[id], folder=folder, root=root, results=tmp_path, annotations=annotations
    )


def test_the_command_writes_every_setting_of_a_first_stage(smoke, capsys):
    assert len(smoke.specs) >= 5
    (path,) = measure_proxies(smoke.plan, [smoke.id], smoke.results, None)
    assert path == smoke.results / "smoke" / "proxy" / f"{smoke.id}.json"
    content = read_json(path)
    assert set(content["settings"]) == {setting(spec) for spec in smoke.specs}
    assert {"box, 0", "none, 0", "box, 0.95", "larger, 0", "random, 0"} <= set(content["settings"])
    assert (content["recipe"], content["code"], content["weights"]) == (smoke.id, proxy_hash(), "0123")
    assert content["data"] == {"root_name": smoke.root.name, "fingerprint": smoke.root.fingerprint}
    assert content["images"] == len(smoke.root.eval)
    assert content["objects"] == sum(not i.crowd for p in smoke.root.eval for i in p.instances)
    metrics = evaluate_class_agnostic(smoke.folder / "predictions.json", smoke.annotations, None)["metrics"]
    raw = content["merge"]["none"]
    assert {name: raw[name] for name in metrics} == pytest.approx(metrics)
    assert content["settings"]["none, 0"]["merged"] == pytest.approx(raw)
    overlapping = {}  # images with a pair of overlapping boxes, and their objects
    for picture in smoke.root.eval:
        covers = np.zeros((picture.height, picture.width), int)
        for instance in picture.instances:
            x1, y1, x2, y2 = (int(side) for side in instance.box)
            covers[y1:y2, x1:x2] += 1
        if covers.max() > 1:
            overlapping[picture.id] = len(picture.instances)
    assert overlapping and sum(group["images"] for group in content["front"].values()) == len(overlapping)
    assert sum(group["objects"] for group in content["front"].values()) == sum(overlapping.values())
    assert str(path) in capsys.readouterr().out


def test_a_baseline_is_measured_as_it_is(smoke):
    """Boxes as masks: they agree with their boxes entirely, whatever their IoU."""
    (id,) = smoke.plan.row_runs("boxcaseg/7", "PASCAL, boxes as masks").values()
    (spec,) = proxy_specs(smoke.plan)[id]
    assert (spec.parent, setting(spec)) == (id, "none, 0")
    boxes = {entry["id"]: entry["bbox"] for entry in read_json(smoke.annotations)["annotations"]}
    predictions = read_json(smoke.folder / "predictions.json")
    for entry in predictions:
        (rle,) = masks.frPyObjects(
            np.array([boxes[entry["annotation_id"]]], np.float64), *entry["segmentation"]["size"]
        )
        entry["segmentation"]["counts"] = rle["counts"].decode()
    folder = smoke.folder.parent / id
    folder.mkdir()
    write_json(folder / "predictions.json", predictions)
    write_json(folder / "train.json", read_json(smoke.folder / "train.json"))
    (path,) = measure_proxies(smoke.plan, [id], smoke.results, None)
    content = read_json(path)
    metrics = evaluate_class_agnostic(folder / "predictions.json", smoke.annotations, None)["metrics"]
    scores = content["settings"]["none, 0"]
    assert {name: scores["merged"][name] for name in metrics} == pytest.approx(metrics)
    assert scores["lower_bound"] < 50 and scores["kept"]["exact"]["drop_rate"] == 0


def test_what_cannot_be_measured_is_refused(smoke):
    warmup = smoke.plan.runs[smoke.id].parent
    with pytest.raises(WsisError, match=f"no row at smoke learns masks of this run .*{smoke.id}"):
        measure_proxies(smoke.plan, [warmup], smoke.results, None)
    file = smoke.folder / "predictions.json"
    first, *others = read_json(file)
    write_json(file, others)
    with pytest.raises(WsisError, match=f"no mask for 1 objects, the first with id {first['annotation_id']}"):
        measure_proxies(smoke.plan, [smoke.id], smoke.results, None)
    write_json(smoke.folder / "train.json", {"data": {"root_name": "other", "fingerprint": "0"}})
    with pytest.raises(WsisError, match="was trained on other"):
        measure_proxies(smoke.plan, [smoke.id], smoke.results, None)
    (smoke.folder / "train.json").unlink()
    with pytest.raises(WsisError, match=r"train\.json: no such file"):
        measure_proxies(smoke.plan, [smoke.id], smoke.results, None)
