"""The workflow in a folder, and with paths, of characters that a shell or Snakemake reads otherwise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from wsis.carried import PACKAGE, carried
from wsis.data.places import shapes_root
from wsis.plan import make_plan

ODD = "wé ird $(touch pwned) `touch pwned` \"q\" 'a' ; touch pwned\nnl 漢"


def checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in ("ablations", "config", "workflow"):
        shutil.copytree(carried(name), folder / name)
    shutil.copy(PACKAGE.parent / "environment.yml", folder)  # which rules name
    shutil.copytree(PACKAGE, folder / "wsis", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def snakemake(folder: Path, *words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "rules", *words]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_job_runs_in_a_folder_of_any_name(tmp_path):
    folder = checkout(tmp_path / ODD)
    paths = {"data_root": {"coco": f"{ODD} {{root}}"}, "weights": f"{ODD} {{{{weights}}}}.pth", "gpus": 0}
    (folder / paths["data_root"]["coco"]).mkdir()
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump({"scale": "smoke", **paths}))
    plan = make_plan("smoke", overrides={"model.weights": paths["weights"]})
    root = next(name for run in plan.runs.values() if (name := shapes_root(run.recipe)))
    done = snakemake(folder, "--", f"results/smoke/data/{root}/stats.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((folder / "results" / "smoke" / "data" / root / "stats.json").read_text())
    assert not [*tmp_path.rglob("pwned")]
    made = {".snakemake", "reports", "results"}
    there = {"ablations", "config", "environment.yml", "workflow", "wsis", paths["data_root"]["coco"]}
    assert {path.name for path in folder.iterdir()} <= made | there


@pytest.mark.parametrize("name", ["{a}", "{{a}}"])
def test_braces_are_refused_in_one_line(tmp_path, name):
    done = snakemake(checkout(tmp_path / name), "-n")
    assert (
        done.returncode
        and f"{name}/workflow: Snakemake can't run a workflow whose path" in done.stdout + done.stderr
    )
