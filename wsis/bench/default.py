"""`wsis bench default`: CPU seconds of a row of each kind at the embedded default, by part.

A kind is a method, or a part of one that is trained alone (`model.trained`). Its first row in the plan takes
a few steps on a few images of its own data, predicts and is evaluated; what that takes is multiplied by the
recipe's iterations and images. A network that is hardly trained detects nothing, so that every image gets
DETECTIONS of its best ones; the masks that a Mask R-CNN learns are the annotated ones. Beside seconds stand
multiples of the calibration's unit: what ablations/scales/tiny.yaml declares as `step` and `run`. Rows on
a frozen base share its outputs within a process: told is what the second and later ones take, and in `first`
what the first one takes more.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.table import Table

from wsis.bench.calibrate import flags, measure, processor
from wsis.bench.untaught import untaught
from wsis.data.ground_truth import category_groups, eval_annotations
from wsis.data.loading import Shard
from wsis.data.places import salient_place, shapes_root
from wsis.data.roots import Root, open_root
from wsis.data.salient import open_salient
from wsis.data.shapes.write import write_shapes
from wsis.declare.recipe import Recipe
from wsis.engine.launch import make_fabric
from wsis.engine.predict import predict
from wsis.engine.schedule import build_optimizer
from wsis.engine.seeding import seed_process
from wsis.engine.step import Item, Losses, batches
from wsis.evaluation.run import evaluate_run
from wsis.methods import build_method
from wsis.methods.base import Method
from wsis.plan import Plan, make_plan
from wsis.records import write_record

PARTS = ("data", "forward", "backward", "optimiser", "prediction", "evaluation", "fixed")
TRAIN, EVAL = 64, 12  # images that are drawn
WARM, STEPS, SECONDS = 3, 14, 1.2  # steps before those that are timed, at most as many, for about so long
DETECTIONS = 10  # an image, as of a trained network


def bench(scale: str, as_json: bool) -> None:
    """Print what a row of each kind takes at `scale`."""
    result = measured(scale)
    if as_json:
        print(json.dumps(result, indent=1))
        return
    title = f"{result['cpu']} ({', '.join(result['flags'])}; torch {result['torch']}, {result['capability']})"
    table = Table("kind", "steps", *PARTS, "CPU s", "units", "units/image", "units/run", "first", title=title)
    for kind, row in result["rows"].items():
        parts = [f"{row['seconds'][part]:.1f}" for part in PARTS]
        units = (f"{row['units']:.1f}", f"{row['step']:.4f}", f"{row['run']:.2f}", f"{row['first']:.1f}")
        table.add_row(kind, str(row["iterations"]), *parts, f"{sum(row['seconds'].values()):.1f}", *units)
    Console(width=150).print(table)
    print(
        f"CPU seconds of the first row of each kind at {scale}; a unit takes {result['unit']:.3g} s,"
        f" a process {result['process']:.1f} units, a data root {result['root']:.1f}"
    )


def kinds(plan: Plan) -> dict[str, str]:
    """Kind -> the run of its first row, or a warm-up; one that trains, where the method has any to train."""
    runs: dict[str, str] = {}
    trained = {run.recipe.method for run in plan.runs.values() if run.iterations}
    for run in sorted(plan.runs.values(), key=lambda run: not run.rows):
        if not run.iterations and run.recipe.method in trained:
            continue
        part = run.recipe.model.trained
        runs.setdefault(run.recipe.method if part == "all" else f"{run.recipe.method}/{part}", run.id)
    return runs


def measured(scale: str) -> dict[str, Any]:
    """Seconds by part, units a row, `step` units a training image, `run` units and `first`, of every kind."""
    unit = measure()
    plan = make_plan(scale, seeds=(0,))
    rows, drawn = {}, []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for kind, run in kinds(plan).items():
                rows[kind] = _row(plan, run, Path(folder), unit["unit"], drawn)
    finally:
        torch.set_num_threads(threads)
    return {
        "cpu": processor(),
        "flags": flags(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        **unit,
        "process": _process() / unit["unit"],
        "root": sum(drawn) / len(drawn) / unit["unit"],
        "rows": rows,
    }


def _row(plan: Plan, run: str, folder: Path, unit: float, drawn: list[float]) -> dict[str, Any]:
    """What the row of `run` takes; adds what a whole data root takes to `drawn` where one is drawn."""
    whole = plan.runs[run].recipe
    recipe = small(whole)
    shapes = whole.data.shapes
    seconds = dict.fromkeys(PARTS, 0.0)
    place = folder / plan.scale.name / "data" / shapes_root(recipe)
    if not place.exists():
        started = time.process_time()
        write_shapes(recipe.data.shapes, recipe.seed, place)
        images = shapes.train_images + shapes.val_images
        drawn.append((time.process_time() - started) * images / (TRAIN + EVAL))
    with _timed(seconds, "fixed"):
        root = open_root(recipe, place)
        fabric = make_fabric(recipe.schedule, "cpu", [0])
        method = built(recipe, root)
    iterations, first = plan.runs[run].iterations, 0.0
    if iterations:
        salient = salient_place(recipe, folder, plan.scale.name, None)
        steps = _trained(recipe, method, root, fabric, salient)
        if recipe.model.trained == "masks":
            first = sum(steps.values()) * iterations
            method = built(recipe, root)
            steps = _trained(recipe, method, root, fabric, salient)
        for part, each in steps.items():
            seconds[part] = each * iterations
    out = folder / "runs" / run
    write_record(out / "recipe.json", {"id": run, "recipe": recipe.model_dump(mode="json")})
    seconds["prediction"] = _predicted(recipe, method, root, fabric, out, shapes.val_images)
    with _timed(seconds, "evaluation", shapes.val_images / len(root.eval)):
        evaluate_run(out, eval_annotations(root, folder), plan.protocols(run), category_groups(root))
    training = sum(seconds[part] for part in ("data", "forward", "backward", "optimiser"))
    images = iterations * recipe.schedule.batch
    return {
        "id": run,
        "iterations": iterations,
        "seconds": seconds,
        "first": max(first - training, 0.0) / unit if first else 0.0,
        "units": sum(seconds.values()) / unit,
        "step": training / unit / images if images else 0.0,
        "run": (sum(seconds.values()) - training) / unit,
    }


def built(recipe: Recipe, root: Root) -> Method:
    """The recipe's method with its first weights."""
    seed_process("weights", recipe.seed)
    method = build_method(recipe, root.num_classes)
    method.begin()
    return method


def small(recipe: Recipe) -> Recipe:
    """The recipe on few images, which any network detects something in."""
    tree = recipe.settled().model_dump(mode="json")
    tree["data"]["shapes"] |= {"train_images": TRAIN, "val_images": EVAL}
    if tree["data"]["shapes"]["salient_images"]:
        tree["data"]["shapes"]["salient_images"] = TRAIN
    tree["data"]["train_images"] = tree["data"]["eval_images"] = None
    tree["predict"] |= {"score": 0.0, "detections": DETECTIONS, "pre_nms": 10 * DETECTIONS}
    untaught(tree)
    return Recipe.model_validate_json(json.dumps(tree))


def _trained(
    recipe: Recipe, method: Method, root: Root, fabric: Fabric, salient: Path | None
) -> dict[str, float]:
    """CPU seconds of a step, by part."""
    images = None if salient is None else open_salient(salient)
    start = (recipe.init and recipe.init.iteration) or 0
    if start:
        method.iteration.fill_(start)
    module, optimizer = fabric.setup(Losses(method), build_optimizer(method, recipe.schedule))
    module.train()
    stream = batches(method, root, images, Shard(start))
    generator = torch.Generator().manual_seed(0)
    total: dict[str, float] = {}
    steps = 0
    while steps < WARM + STEPS and sum(total.values()) < SECONDS:
        if steps == WARM:
            total = dict.fromkeys(total, 0.0)
        with _timed(total, "data"):
            (batch,) = next(stream)
        with _timed(total, "forward"):
            loss = sum(module(Item(batch, generator)).values())
        with _timed(total, "backward"):
            fabric.backward(loss)
        with _timed(total, "optimiser"):
            if recipe.schedule.clip:
                fabric.clip_gradients(module, optimizer, max_norm=recipe.schedule.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            method.on_step_end(start + steps)
        steps += 1
    timed = steps - WARM if steps > WARM else steps
    return {part: value / timed for part, value in total.items()}


def _predicted(
    recipe: Recipe, method: Method, root: Root, fabric: Fabric, folder: Path, images: int
) -> float:
    """CPU seconds of predicting `images`, of which what does not grow with them (a threshold) is a part."""
    few = recipe.model_copy(update={"data": recipe.data.model_copy(update={"eval_images": EVAL // 3})})
    if recipe.model.trained == "masks":  # what a former row of the process leaves
        predict(method, root, folder / "predictions.json", fabric, show=False)
    times: dict[str, float] = {}
    for name, there in (("few", open_root(few, root.path)), ("all", root)):
        with _timed(times, name):
            predict(method, there, folder / "predictions.json", fabric, show=False)
    each = max(times["all"] - times["few"], 0.0) / (EVAL - EVAL // 3)
    return times["all"] + each * (images - EVAL)


@contextmanager
def _timed(seconds: dict[str, float], part: str, times: float = 1.0) -> Iterator[None]:
    """Add `times` what the block takes of the CPU to a part."""
    start = time.process_time()
    yield
    seconds[part] = seconds.get(part, 0.0) + (time.process_time() - start) * times


def _process() -> float:
    """CPU seconds that a process takes before it trains: its imports and the plan."""
    code = "import time; import wsis.engine.run; from wsis.plan import make_plan; make_plan('tiny');"
    command = [sys.executable, "-c", f"{code} print(time.process_time())"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
