"""Validation during training: metrics of the evaluation images, and the weights that do best on them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from wsis.checksums import move, sealed
from wsis.data.ground_truth import eval_annotations
from wsis.data.roots import Root
from wsis.declare.recipe import Recipe
from wsis.declare.stored import MODEL
from wsis.engine.checkpoint import save_model
from wsis.engine.predict import predict_samples
from wsis.evaluation.coco import evaluate
from wsis.methods.base import Method
from wsis.methods.weights import load_model
from wsis.progress import Progress
from wsis.records import read_record, sound, write_record

IMAGES = {"cpu": 50, "cuda": 500}  # that a validation looks at, spread evenly over the split
METRICS = ("AP", "AP50", "AP75")
CHOICE = "AP"  # the metric that decides which weights are the best
LAST = "last.safetensors"  # the weights after the last step, where the best are the run's


class Validation:
    """Evaluates a method every so many iterations and keeps the best weights so far.

    It lies in the run's checkpoints/validation/: done.json {"validations": [entry], "best": entry or null},
    the predictions, and the best weights. An entry is {"iteration": steps done, metric: per cent}. What a
    resumed training does again replaces what was there.
    """

    def __init__(self, recipe: Recipe, root: Root, folder: Path, fabric: Fabric) -> None:
        """folder: of the run."""
        self.recipe, self.root, self.run, self.fabric = recipe, root, folder, fabric
        self.folder = folder / "checkpoints" / "validation"
        self.every, self.first = recipe.schedule.validate_every, fabric.global_rank == 0
        self.seconds = 0.0  # of the last one
        self._annotations: Path | None = None

    def due(self, done: int) -> bool:
        """Whether a validation follows `done` iterations; the last one always has one."""
        return bool(self.every) and (done % self.every == 0 or done == self.recipe.schedule.end)

    def __call__(self, method: Method, done: int) -> dict[str, float] | None:
        """Metrics of `method` after `done` iterations, in per cent; the same on no rank but the first.

        Called on every rank; training mode is the caller's to restore.
        """
        began = time.monotonic()
        rank, world = self.fabric.global_rank, self.fabric.world_size
        step = -(-len(self.root.eval) // IMAGES[self.fabric.device.type])  # every step-th image
        samples = method.samples(self.root, rank * step, world * step)
        path = self.folder / "predictions.json"
        self.folder.mkdir(parents=True, exist_ok=True)
        silent = Progress("", 0, 0, enabled=False)
        predict_samples(method, samples, self.root.category_ids, path, self.fabric, silent)
        if not self.first:
            return None
        self._annotations = self._annotations or eval_annotations(self.root, self.folder)
        images = [picture.id for picture in self.root.eval[::step]]
        found = evaluate(path, self._annotations, None, image_ids=images)["metrics"]
        metrics = {name: found[name] for name in METRICS if found[name] is not None}
        self._keep(method, {"iteration": done, **metrics})
        self.seconds = time.monotonic() - began
        return metrics

    def _keep(self, method: Method, entry: dict[str, Any]) -> None:
        kept = self.done()
        kept["validations"] = [
            each for each in kept["validations"] if each["iteration"] < entry["iteration"]
        ] + [entry]
        best = max(kept["validations"], key=lambda each: each.get(CHOICE, 0.0))
        if best is entry:
            save_model(self.folder, self.recipe.id, entry["iteration"], method)
        write_record(self.folder / "done.json", {"validations": kept["validations"], "best": best})

    def done(self) -> dict[str, Any]:
        """The content of done.json."""
        path = self.folder / "done.json"
        return read_record(path) if sound(path) else {"validations": [], "best": None}

    def choose(self, method: Method) -> dict[str, Any]:
        """Make the best weights the run's, and `method`'s; called on every rank when the last are written.

        Returns what train.json says of it.
        """
        kept = self.done()
        if kept["best"] is None:
            return {}
        content = load_model(self.folder / MODEL)
        method.load_state_dict(content["model"])
        self.fabric.barrier()
        if self.first:
            move(self.run / MODEL, self.run / LAST)
            with sealed(self.run / MODEL) as file:
                file.write((self.folder / MODEL).read_bytes())
        self.fabric.barrier()
        return kept
