"""The file that COCO's evaluation server takes for test-dev, whose labels are not public."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

from wsis.errors import WsisError
from wsis.evaluation.guard import read_predictions, read_truth
from wsis.files import write_bytes

SPLIT = "test-dev2017"


def write_submission(predictions: Path, image_info: Path, name: str, folder: Path) -> Path:
    """Check predictions.json and pack it for the server; returns the path of the zip.

    image_info: COCO's image_info_test-dev2017.json; every prediction's image and category must be in it
    name:       of the method, letters, digits and hyphens; it becomes part of the file names

    The zip holds detections_test-dev2017_<name>_results.json: image_id, category_id, segmentation, score
    of each mask and no box. Equal predictions give equal bytes. Raises WsisError.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", name):
        raise WsisError(f"submission name '{name}': use letters, digits and hyphens only")
    detections = read_predictions(predictions, read_truth(image_info, labelled=False))
    if not detections:
        raise WsisError(f"{predictions}: no detections to submit")
    for entry in detections:
        entry["segmentation"]["counts"] = entry["segmentation"]["counts"].decode("ascii")
    keys = ("image_id", "category_id", "segmentation", "score")
    results = [{key: entry[key] for key in keys} for entry in detections]
    stem = f"detections_{SPLIT}_{name}_results"
    member = zipfile.ZipInfo(f"{stem}.json", date_time=(1980, 1, 1, 0, 0, 0))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(member, json.dumps(results), zipfile.ZIP_DEFLATED)
    path = Path(folder) / f"{stem}.zip"
    write_bytes(path, packed.getvalue())
    return path
