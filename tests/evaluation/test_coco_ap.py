"""COCO AP: a second library, hand-computed cases, and what must not matter."""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter

import numpy as np
import pytest

from wsis.errors import WsisError
from wsis.evaluation.coco import evaluate

SETS = {
    "plain": {"seed": 1},
    "tied scores": {"seed": 2, "levels": 3},
    "one score": {"seed": 3, "levels": 1},
    "more than 100 detections of a class": {"seed": 4, "categories": (5, 6), "extra": 260, "objects": 9},
    "crowd": {"seed": 5, "crowd": 0.3, "objects": 8},
    "no large objects": {"seed": 6, "radius": (3, 40)},
}


def faster_coco_eval():
    from faster_coco_eval import COCO, COCOeval_faster

    return COCO, COCOeval_faster


def detectron2():
    reason = "detectron2 is not installed: make detectron2 SOURCE=path"
    fast = pytest.importorskip("detectron2.evaluation.fast_eval_api", reason=reason, exc_type=ImportError)
    from pycocotools.coco import COCO

    return COCO, fast.COCOeval_opt


def second_opinion(library, predictions, annotations, thresholds):
    """Precision T x R x K x A of a library on the predictions in the guard's order, and its stats."""
    COCO, Evaluation = library()
    entries = json.loads(predictions.read_text())
    key = lambda e: (e["image_id"], -e["score"], e["category_id"], e["segmentation"]["counts"])  # noqa: E731
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        run = Evaluation(truth, truth.loadRes(sorted(entries, key=key)), "segm")
        if thresholds is not None:
            run.params.iouThrs = np.array(thresholds)
        run.evaluate()
        run.accumulate()
        if thresholds is None:
            run.summarize()
    return run.eval["precision"][..., -1], run.stats


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("library", [faster_coco_eval, detectron2])
def test_agrees_with_a_second_library(library, name, scene_of, tmp_path):
    scene = scene_of(**SETS[name])
    predictions, annotations = scene.write(tmp_path)
    metrics = evaluate(predictions, annotations, "r-1")["metrics"]
    _, stats = second_opinion(library, predictions, annotations, None)
    expected = dict(zip(("AP", "AP50", "AP75", "APS", "APM", "APL"), stats[:6], strict=True))
    other, _ = second_opinion(library, predictions, annotations, [0.25, 0.7])
    for index, metric in enumerate(("AP25", "AP70")):
        values = other[index, :, :, 0]
        expected[metric] = values[values > -1].mean()
    for metric, value in expected.items():
        if value == -1:
            assert metrics[metric] is None
        else:
            assert metrics[metric] == pytest.approx(100 * value, abs=1e-9), metric
    assert 1 < metrics["AP"] < 99, "the set is too easy or too hard to tell anything"
    assert (metrics["APL"] is None) == (name == "no large objects")
    most = max(Counter((entry["image_id"], entry["category_id"]) for entry in scene.found).values())
    assert (most > 100) == (name == "more than 100 detections of a class")


def square(row, column, side, size=10):
    mask = np.zeros((size, size), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_one_right_one_wrong_by_hand(empty_scene, tmp_path):
    """The wrong detection first: precision is 0, then 1/2 at recall 1; the envelope is 1/2 everywhere."""
    scene = empty_scene
    scene.add(1, 1, square(0, 0, 4))
    scene.find(1, 1, square(6, 6, 4), 0.9)
    scene.find(1, 1, square(0, 0, 4), 0.5)
    metrics = evaluate(*scene.write(tmp_path / "wrong first"), None)["metrics"]
    assert all(metrics[m] == pytest.approx(50) for m in ("AP", "AP25", "AP50", "AP70", "AP75", "APS"))
    assert metrics["APM"] is metrics["APL"] is metrics["AP_unseen"] is None

    scene.found[1]["score"] = 0.95  # the right one first: recall 1 at precision 1
    metrics = evaluate(*scene.write(tmp_path / "right first"), None)["metrics"]
    assert all(metrics[m] == pytest.approx(100) for m in ("AP", "AP25", "AP50", "AP70", "AP75", "APS"))


def test_one_of_two_found_by_hand(empty_scene, tmp_path):
    """Recall stops at 1/2: of the 101 recall levels 0, .01, ..., .5 have precision 1, the other 50 have 0."""
    scene = empty_scene
    scene.add(1, 1, square(0, 0, 4))
    scene.add(1, 1, square(6, 6, 4))
    scene.find(1, 1, square(0, 0, 4), 0.5)
    assert evaluate(*scene.write(tmp_path), None)["metrics"]["AP"] == pytest.approx(100 * 51 / 101)


def test_thresholds_by_hand(empty_scene, tmp_path):
    """IoU 8/11: right up to a threshold of .70, that is at five of the ten; an IoU of 1/4 counts at .25."""
    scene = empty_scene
    scene.categories = [1, 2]
    line = np.zeros((10, 10), dtype=bool)
    truth, found, quarter = line.copy(), line.copy(), line.copy()
    truth[0, :10] = found[0, 2:10] = found[1, 0] = quarter[2, :4] = True
    scene.add(1, 1, truth)
    scene.find(1, 1, found, 0.5)
    scene.add(1, 2, quarter)
    scene.find(1, 2, square(2, 0, 1), 0.5)
    result = evaluate(*scene.write(tmp_path), None)
    assert result["per_class"] == {"class 1": pytest.approx(50), "class 2": pytest.approx(0)}
    metrics = result["metrics"]
    expected = {"AP25": 100, "AP50": 50, "AP70": 50, "AP75": 0, "AP": 25}
    assert {name: metrics[name] for name in expected} == pytest.approx(expected)


def test_perfect_predictions(scene_of, tmp_path):
    scene = scene_of(seed=8)
    scene.found = [{**entry, "score": 0.5} for entry in scene.truth]
    result = evaluate(*scene.write(tmp_path), None, unseen=[3, 44])
    defined = {name: value for name, value in result["metrics"].items() if value is not None}
    assert set(defined) == set(result["metrics"])
    assert defined == pytest.approx(dict.fromkeys(defined, 100.0))


def test_order_of_the_file_and_boxes_do_not_matter(scene_of, tmp_path):
    predictions, annotations = scene_of(seed=9, levels=2, extra=60, images=5).write(tmp_path)
    first = evaluate(predictions, annotations, "x-1")
    entries = json.loads(predictions.read_text())
    for seed in range(3):
        shuffled = [entries[i] for i in np.random.default_rng(seed).permutation(len(entries))]
        predictions.write_text(json.dumps([{**e, "bbox": [0, 0, 79, 59]} for e in shuffled]))
        assert evaluate(predictions, annotations, "x-1") == first


def test_area_scale_is_the_same_as_larger_images(scene_of, tmp_path):
    """Masks twice as large in each direction, against small ones whose file says so."""
    small = scene_of(seed=10, size=(30, 40), radius=(3, 20))
    small.info, small.area = {"area_scale": 4.0}, 4.0
    large = scene_of(seed=10, size=(30, 40), radius=(3, 20))
    large.size = (60, 80)
    for entry in large.truth + large.found:
        entry["mask"] = np.kron(entry["mask"], np.ones((2, 2), dtype=bool))
    scaled = evaluate(*small.write(tmp_path / "small"), None)
    assert scaled == evaluate(*large.write(tmp_path / "large"), None)
    assert None not in [scaled["metrics"][m] for m in ("APS", "APM")]
    small.info, small.area = {}, 1.0
    plain = evaluate(*small.write(tmp_path / "plain"), None)["metrics"]
    assert plain["AP"] == scaled["metrics"]["AP"]
    assert plain["APS"] != scaled["metrics"]["APS"]


def test_unseen_is_the_mean_of_its_classes(scene_of, tmp_path):
    paths = scene_of(seed=11).write(tmp_path)
    result = evaluate(*paths, None, unseen=[3, 18, 44])  # 44 has no object
    by_name = result["per_class"]
    assert by_name["class 44"] is None
    assert result["metrics"]["AP_unseen"] == pytest.approx((by_name["class 3"] + by_name["class 18"]) / 2)
    assert result["metrics"]["AP"] == pytest.approx(np.mean([by_name[f"class {c}"] for c in (3, 7, 18)]))
    everything = evaluate(*paths, None, unseen=[3, 7, 18, 44])["metrics"]
    assert everything["AP50_unseen"] == everything["AP50"] and everything["AP75_unseen"] == everything["AP75"]
    grouped = evaluate(*paths, None, unseen=[3, 18], groups={"a": [18, 3], "b": [44], "c": []})
    same = {name: grouped["metrics"][f"{name}_unseen"] for name in ("AP", "AP50", "AP75")}
    undefined = dict.fromkeys(same)
    assert grouped["groups"] == {"a": pytest.approx(same), "b": undefined, "c": undefined}
    for wrong in ({"unseen": [99]}, {"groups": {"a": [99]}}):
        with pytest.raises(WsisError, match="no category 99"):
            evaluate(*paths, None, **wrong)


def test_images_can_be_chosen(scene_of, tmp_path):
    scene = scene_of(seed=12)
    chosen = scene.images[:5]
    scene.found = [entry for entry in scene.found if entry["image_id"] in chosen]
    restricted = evaluate(*scene.write(tmp_path / "a"), None, image_ids=chosen)
    assert restricted["images"] == 5
    scene.images = chosen
    scene.truth = [entry for entry in scene.truth if entry["image_id"] in chosen]
    assert evaluate(*scene.write(tmp_path / "b"), None) == restricted


def test_no_predictions(scene_of, tmp_path):
    scene = scene_of(seed=6, radius=(3, 40))
    scene.found = []
    result = evaluate(*scene.write(tmp_path), "r-1", unseen=[3])
    zero = {name for name, value in result["metrics"].items() if value == 0}
    assert zero == set(result["metrics"]) - {"APL"} and result["metrics"]["APL"] is None
    assert result["detections"] == 0


def test_nothing_is_printed(scene_of, tmp_path, capsys):
    evaluate(*scene_of(seed=1, images=2).write(tmp_path), None)
    assert capsys.readouterr() == ("", "")
