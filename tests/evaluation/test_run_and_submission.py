"""A run's folder is evaluated in place; the server's file holds what the server wants."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest

from wsis.errors import WsisError
from wsis.evaluation.coco import evaluate
from wsis.evaluation.guard import GuardError
from wsis.evaluation.run import evaluate_run
from wsis.evaluation.submission import write_submission
from wsis.evaluation.voc import evaluate_voc
from wsis.files import checksum_file, digest, write_json


@pytest.fixture
def run(scene_of, tmp_path):
    """(folder of a run, ground truth)."""
    predictions, annotations = scene_of(seed=1, images=4).write(tmp_path / "run")
    (predictions.parent / "recipe.json").write_text(json.dumps({"id": "boxinst-0123456789", "recipe": {}}))
    return predictions.parent, annotations


@pytest.mark.parametrize(("protocol", "function"), [("coco", evaluate), ("voc", evaluate_voc)])
def test_metrics_are_written_beside_the_predictions(run, protocol, function):
    folder, annotations = run
    before = set(folder.iterdir())
    result = evaluate_run(folder, annotations, [protocol])
    assert json.loads((folder / "metrics.json").read_text()) == result
    assert result.pop("predictions") == digest(folder / "predictions.json")
    assert result == function(folder / "predictions.json", annotations, "boxinst-0123456789")
    there = {folder / "metrics.json", checksum_file(folder / "metrics.json")}
    assert set(folder.iterdir()) - before == there


def test_options_reach_the_evaluator(run):
    folder, annotations = run
    images = [image["id"] for image in json.loads(annotations.read_text())["images"]]
    assert evaluate_run(folder, annotations, unseen=[3], image_ids=images)["metrics"]["AP_unseen"] is not None
    with pytest.raises(GuardError, match="not among"):
        evaluate_run(folder, annotations, image_ids=images[:1])
    with pytest.raises(WsisError, match="no metrics over unseen"):
        evaluate_run(folder, annotations, ["voc"], unseen=[3])
    with pytest.raises(WsisError, match="no protocol 'lvis'"):
        evaluate_run(folder, annotations, ["lvis"])


def test_a_failed_evaluation_leaves_the_old_metrics(run):
    folder, annotations = run
    evaluate_run(folder, annotations)
    before = (folder / "metrics.json").read_bytes()
    (folder / "predictions.json").write_text('[{"image_id": 1}]')
    with pytest.raises(GuardError):
        evaluate_run(folder, annotations)
    assert (folder / "metrics.json").read_bytes() == before
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(folder / "metrics.json", {"AP": float("nan")})
    assert (folder / "metrics.json").read_bytes() == before
    with pytest.raises(WsisError, match="can't be written"):
        write_json(folder / "predictions.json" / "metrics.json", {})


def test_submission(run, tmp_path):
    folder, annotations = run
    info = json.loads(annotations.read_text())
    del info["annotations"]
    annotations.write_text(json.dumps(info))
    entries = json.loads((folder / "predictions.json").read_text())
    boxed = [{**entry, "bbox": [0, 0, 1, 1]} for entry in reversed(entries)]
    (folder / "predictions.json").write_text(json.dumps(boxed))

    path = write_submission(folder / "predictions.json", annotations, "BoxInst-R50", tmp_path / "out")
    assert path.name == "detections_test-dev2017_BoxInst-R50_results.zip"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["detections_test-dev2017_BoxInst-R50_results.json"]
        sent = json.loads(archive.read(archive.namelist()[0]))
    key = lambda e: json.dumps(e, sort_keys=True)  # noqa: E731
    assert sorted(sent, key=key) == sorted(entries, key=key)
    assert list(path.parent.iterdir()) == [path]

    before = path.read_bytes()
    (folder / "predictions.json").write_text(json.dumps(entries))
    write_submission(folder / "predictions.json", annotations, "BoxInst-R50", tmp_path / "out")
    assert path.read_bytes() == before


def test_submission_is_checked(run, tmp_path):
    folder, annotations = run
    with pytest.raises(WsisError, match="letters, digits and hyphens"):
        write_submission(folder / "predictions.json", annotations, "../x_y", tmp_path)
    (folder / "predictions.json").write_text("[]")
    with pytest.raises(WsisError, match="no detections to submit"):
        write_submission(folder / "predictions.json", annotations, "x", tmp_path)
    (folder / "predictions.json").write_text('[{"image_id": 100000, "category_id": 3}]')
    with pytest.raises(GuardError, match="image 100000 is not in"):
        write_submission(folder / "predictions.json", annotations, "x", tmp_path)


def test_evaluation_imports_no_torch():
    code = "import sys, wsis.evaluation.run, wsis.evaluation.submission; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_two_protocols_share_a_file(run):
    folder, annotations = run
    result = evaluate_run(folder, annotations, ["coco", "voc"])
    also = result.pop("also")
    result.pop("predictions")
    assert result == evaluate(folder / "predictions.json", annotations, "boxinst-0123456789")
    assert also == {"voc": evaluate_voc(folder / "predictions.json", annotations, "boxinst-0123456789")}
