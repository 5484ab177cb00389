"""A short training on real images, by the workflow."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from wsis.bench.gpu.parts import REAL, Row, Setting, Skipped
from wsis.carried import carried
from wsis.data.places import named_roots
from wsis.declare.recipe import Recipe
from wsis.engine.feed import cores
from wsis.plan import Plan, make_plan

STEPS, IMAGES, EVAL = 12, 48, 8  # of the training; images of training and evaluation
TAIL = 8  # lines of Snakemake's that a fault has


def workflow(setting: Setting) -> Iterator[Row]:
    """The table with the fewest trainings on the given roots, trained for STEPS steps, and evaluated."""
    if setting.data_root is None:
        raise Skipped("no real images: DATA=PATH, or DATA=coco=PATH,voc=PATH")
    over = {"schedule.iterations": STEPS, "data.train_images": IMAGES, "data.eval_images": EVAL}
    over |= {"schedule.milestones": [], "schedule.warmup": 0, "model.weights": "none"}
    plan = make_plan(REAL.scale, seeds=(0,))
    table = smallest(plan, set(named_roots(setting.data_root)))
    gpus = 1 if setting.accelerator == "cuda" else 0
    config = [f"scale={REAL.scale}", "seeds=0", f"gpus={gpus}", f"data_root={setting.data_root}"]
    config.append(f"set={json.dumps(over)}")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(carried("workflow") / "Snakefile")]
    command += ["--cores", str(cores()), "--resources", f"gpu={gpus}", "--config", *config, "--"]
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [*command, table.replace("/", "_")],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    faults = []
    if done.returncode:
        tail = " | ".join(line for line in done.stdout.splitlines()[-TAIL:] if line.strip())
        faults.append(f"Snakemake exits with {done.returncode}: {tail}")
    yield {"name": f"{table} at {REAL.scale}", "seconds": time.monotonic() - began, "faults": faults}


def smallest(plan: Plan, roots: set[str]) -> str:
    """The table with the fewest trainings among those whose images are all in `roots`; Skipped if none is."""

    def recipes(table: str) -> list[Recipe]:
        return [plan.runs[run].recipe for run in plan.with_needed(plan.wanted([table]))]

    def fits(table: str) -> bool:
        needed = {recipe.data.dataset for recipe in recipes(table)}
        salient = any(recipe.data.supervision == "boxes+salient" for recipe in recipes(table))
        return bool(needed) and needed | ({"salient"} if salient else set()) <= roots

    tables = [table for table in plan.tables if fits(table)]
    if not tables:
        raise Skipped(f"no table is trained on {', '.join(sorted(roots))} alone: DATA=coco=PATH,voc=PATH")
    return min(tables, key=lambda table: len(recipes(table)))
