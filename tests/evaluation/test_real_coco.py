"""Official annotation files pass the guard, and their own masks as predictions score 100."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wsis.evaluation.class_agnostic import evaluate_class_agnostic
from wsis.evaluation.coco import evaluate
from wsis.evaluation.rle import truth_rle
from wsis.evaluation.voc import evaluate_voc

SHARED = Path(os.environ.get("WSIS_SHARED_DATA") or Path(__file__).resolve().parents[3] / "shared/data")
ANNOTATIONS = SHARED / "coco/annotations/instances_val2017.json"


@pytest.mark.skipif(not ANNOTATIONS.exists(), reason=f"needs {ANNOTATIONS}; set WSIS_SHARED_DATA")
def test_ground_truth_as_predictions(tmp_path):
    dataset = json.loads(ANNOTATIONS.read_text())
    sizes = {image["id"]: (image["height"], image["width"]) for image in dataset["images"]}
    found = []
    for entry in dataset["annotations"]:
        if not entry["iscrowd"]:
            rle = truth_rle(entry["segmentation"], sizes[entry["image_id"]])
            found.append(
                {
                    "image_id": entry["image_id"],
                    "category_id": entry["category_id"],
                    "annotation_id": entry["id"],
                    "score": 0.5,
                    "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode()},
                }
            )
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps(found))
    for evaluator in (evaluate, evaluate_voc, evaluate_class_agnostic):
        metrics = evaluator(predictions, ANNOTATIONS, None)["metrics"]
        defined = {name: value for name, value in metrics.items() if not name.endswith("_unseen")}
        assert defined == pytest.approx(dict.fromkeys(defined, 100.0))
