"""A COCO root with boxes alone in training: what learns from boxes trains, is evaluated and drawn."""

from __future__ import annotations

import pytest

from tests.test_judge import SMALL, boxes_only
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.flow.jobs import evaluate_runs
from wsis.judge import judge
from wsis.plan import make_plan
from wsis.trained.export import export, image_files
from wsis.trained.model import Model

ROWS = [("boxinst/3", "projection + pairwise"), ("sim/3", "pseudo + paste"), ("boxcaseg/5", "9:7")]
OVER = SMALL | {"schedule.batch": 16, "schedule.iterations": 3, "boxcaseg.side": 32, "boxcaseg.patch": 32}
OPTIONS = RunOptions("cpu", threads=1, train=TrainOptions(progress=False))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_boxes_train_what_learns_from_boxes(row, coco_root, shapes, tmp_path):
    root, results = coco_root(boxes_only), tmp_path / "results"
    roots = {"coco": str(root), "salient": str(shapes / "salient")}
    plan = make_plan("mini", (21,), OVER)
    ids = [*plan.row_runs(*row).values()]
    needed = plan.with_needed(ids)
    judge(plan, needed, results, roots)
    train_runs(plan, needed, results, roots, OPTIONS)
    evaluate_runs(plan, ids, results, roots)
    folder = results / "mini" / "runs" / ids[0]
    values = read_json(folder / "metrics.json")["metrics"]
    assert all(value is None or 0 <= value <= 100 for value in values.values())
    file = root / "annotations" / "instances_val2017.json"
    images = image_files([root / "val2017"])
    export(Model(folder, "cpu"), images, tmp_path / "out", 0.0, True, file)
    assert len([*(tmp_path / "out" / "drawn").iterdir()]) == 4
    coco_root(boxes_only, "val2017")
    with pytest.raises(WsisError, match="mask AP needs masks"):
        judge(plan, needed, results, roots)
    judge(plan, needed, results, roots, predict_only=True)
    with pytest.raises(WsisError, match=r"instances_val2017\.json"):
        evaluate_runs(plan, ids, results, roots)
    export(Model(folder, "cpu"), images, tmp_path / "again", 0.0, False, file)
