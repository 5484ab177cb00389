"""Digests of what a handful of short trainings give, to compare two versions of the code on one machine.

    python tests/digests.py before.json        in one checkout
    python tests/digests.py after.json         in another: `diff` tells whether a number moved

Every method trains a few steps at `smoke` (a fork, both stages of two-stage rows, readings) and predicts.
They differ between processors and are never committed.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path

from wsis.data.places import shapes_root
from wsis.declare.stored import weights_file
from wsis.engine.job import RunOptions
from wsis.engine.run import train_runs
from wsis.engine.train import TrainOptions
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.plan import make_plan

ROWS = {
    "boxinst/1a": ("fully-sup.", "tau = 0.1"),
    "boxinst/3": ("box mask",),
    "sim/4": ("alpha = 0.5",),
    "boxcaseg/7": ("PASCAL, merge, drop", "PASCAL, GrabCut", "PASCAL, boxes as masks"),
    "baiseg/3": ("CFM + DMA + PPC", "CFM + DMA + PPC + refinement"),
}


def digest(path: Path) -> str:
    def without_version(tree: dict) -> dict:  # of our evaluators: the commit's; nor digests
        return {key: value for key, value in tree.items() if key not in ("evaluator", "predictions")}

    content = json.loads(path.read_text(encoding="utf-8"), object_hook=without_version)
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def weights(path: Path) -> str:
    """Of the tensors' bytes: the file's own layout may change."""
    from wsis.methods.weights import load_model

    found = hashlib.sha256()
    for name, value in sorted(load_model(path)["model"].items()):
        found.update(name.encode() + value.contiguous().view(-1).numpy().tobytes())
    return found.hexdigest()[:16]


def main(out: Path) -> None:
    plan = make_plan(
        "smoke", overrides={"predict.score": 0.0, "predict.detections": 5}
    )  # or nothing is detected
    wanted = []
    for table, labels in ROWS.items():
        for label in labels:
            runs = plan.row_runs(table, label)
            assert runs, (table, label, plan.row_reason(table, label))
            wanted += runs.values()
    ids = plan.with_needed(wanted)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        for root in {shapes_root(plan.runs[id].recipe) for id in ids}:
            make_data(plan, results, root)
        options = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))
        train_runs(plan, ids, results, None, options)
        evaluate_runs(plan, wanted, results, None)
        for id in ids:
            run = results / "smoke/runs" / id
            found[id] = {"weights": weights(weights_file(run))}
            for name in ("predictions.json", "metrics.json"):
                if (run / name).exists():
                    found[id][name] = digest(run / name)
    out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{len(found)} runs: {out}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
