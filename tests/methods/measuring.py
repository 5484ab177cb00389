"""What tests of measures share: a drawn root at the smoke scale, and runs that look trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wsis.data.places import run_root
from wsis.data.roots import Root, open_root
from wsis.engine.checkpoint import save_model
from wsis.files import read_json, write_json
from wsis.flow.jobs import make_data, measure
from wsis.measures.registry import sets
from wsis.methods import build_method
from wsis.plan import Plan, make_plan
from wsis.provenance import hash_of


@dataclass
class Smoke:
    plan: Plan
    root: Root
    results: Path

    def folder(self, run: str) -> Path:
        return self.results / "smoke" / "runs" / run

    def finish(self, run: str, predictions: list | None = None, weights: bool = False) -> Path:
        """Write the files of a run; its weights are those that it begins with."""
        folder = self.folder(run)
        folder.mkdir(parents=True)
        if weights:
            torch.manual_seed(0)
            method = build_method(self.plan.runs[run].recipe.settled(), self.root.num_classes)
            save_model(folder, run, 1, method)
        if predictions is not None:
            write_json(folder / "predictions.json", predictions)
        data = {"root_name": self.root.name, "fingerprint": self.root.fingerprint}
        write_json(folder / "train.json", {"recipe": run, "weights": "0123", "data": data})
        return folder

    def measure(self, name: str, key: str) -> dict[str, Any]:
        """The file that the command writes, which says what it was measured on and by."""
        (path,) = measure(self.plan, [name, key], self.results, None, "cpu")
        assert path == self.results / "smoke" / "measures" / name / f"{key}.json"
        content = read_json(path)
        assert (content["set"], content["key"], content["weights"]) == (name, key, "0123")
        assert content["code"] == hash_of(sets()[name].modules)
        assert content["data"] == {"root_name": self.root.name, "fingerprint": self.root.fingerprint}
        names = {measure.name for measure in sets()[name].measures}
        assert content["values"] and all({*values} == names for values in content["values"].values())
        return content


def draw(run: str, results: Path) -> Smoke:
    """The root that a run of the smoke scale reads."""
    plan = make_plan("smoke")
    recipe = plan.runs[run].recipe
    make_data(plan, results, next(job.data for job in plan.jobs if run in job.runs))
    return Smoke(plan, open_root(recipe, run_root(recipe, results, "smoke", None)), results)
