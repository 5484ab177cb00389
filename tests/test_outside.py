"""Methods and papers from outside of the package: one file, one folder, one run of it all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsis.declare.load import ROOT

BLOB = Path(__file__).with_name("outside") / "blob.py"
PAPER = """
name: Blob
title: One box for all
authors: [A. Author]
year: 2030
bibtex: "@misc{blob}"
"""
RECIPE = """
plain:
  method: blob
  data: {supervision: boxes}
  schedule: {batch: 16, iterations: 100}
"""
TABLE = """
paper: own_paper
table: main
title: Boxes
caption: One box.
section: "4"
dataset: coco
split: val2017
protocol: coco
base: plain
columns: [AP]
header: [AP]
rows:
  - {label: blob, values: [1.0], train: {}}
  - {label: slow blob, values: [0.5], train: {schedule.lr: 0.001}}
"""
RUN = """
import json, sys
from pathlib import Path
from wsis.engine.run import RunOptions, train_runs
from wsis.engine.train import TrainOptions
from wsis.flow.jobs import evaluate_runs, make_data
from wsis.plan import make_plan
root, results = Path(sys.argv[1]), Path(sys.argv[2])
plan = make_plan("smoke", root=root)
ids = plan.wanted(plan.tables)
make_data(plan, results, None)
options = RunOptions(accelerator="cpu", threads=1, train=TrainOptions(progress=False))
train_runs(plan, ids[:1], results, None, options)
evaluate_runs(plan, ids[:1], results, None)
metrics = json.loads((results / "smoke/runs" / ids[0] / "metrics.json").read_text())
print(json.dumps([list(plan.tables), ids, metrics["metrics"]]))
"""
PLAN = "from wsis.declare.recipe import Recipe, SECTIONS; print([*SECTIONS], Recipe(method='own').id)"


def python(code: str, *included: Path, words: tuple = ()) -> subprocess.CompletedProcess:
    environment = {**os.environ, "WSIS_INCLUDE": os.pathsep.join(map(str, included))}
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_a_method_of_one_file_and_a_paper_of_its_own_are_planned_trained_and_evaluated(tmp_path):
    root = tmp_path / "ablations"
    (root / "own_paper").mkdir(parents=True)
    (root / "scales").symlink_to(ROOT / "scales")
    for name, text in (("paper", PAPER), ("recipe", RECIPE), ("table_main", TABLE)):
        (root / "own_paper" / f"{name}.yaml").write_text(text, encoding="utf-8")
    done = python(RUN, BLOB, words=(root, tmp_path / "results"))
    assert done.returncode == 0, done.stderr
    tables, ids, metrics = json.loads(done.stdout.splitlines()[-1])
    assert tables == ["own_paper/main"]
    assert len(set(ids)) == 2 and all(run.startswith("blob-") for run in ids)
    assert metrics["AP"] is not None


@pytest.fixture
def package(tmp_path) -> Path:
    folder = tmp_path / "own_method"
    folder.mkdir()
    (folder / "__init__.py").write_text("", encoding="utf-8")
    (folder / "info.py").write_text(
        "from wsis.declare.base import Spec\n"
        "from wsis.methods.info import Info\n"
        "class Own(Spec):\n"
        "    knob: float = 1.0\n"
        "INFO = Info(name='own', network='own_method.method:Own', section=Own)\n",
        encoding="utf-8",
    )
    return folder


def test_a_package_brings_a_section(package):
    done = python(PLAN.replace("method='own'", "method='own', own={'knob': 2.0}"), package)
    assert done.returncode == 0, done.stderr
    assert "'own'] own-" in done.stdout
    assert "needs the section 'own'" in python(PLAN, package).stderr


def test_the_command_line_includes_a_package(package):
    words = "'--include', sys.argv[1], 'plan', '--scale', 'mini', '--set', 'method=x'"
    code = f"import sys; sys.argv[1:] = [{words}]; from wsis.cli import main; main()"
    done = python(code, words=(package,))
    assert done.returncode == 1 and "there are" in done.stderr and "own" in done.stderr


def test_a_scale_names_an_included_method(tmp_path, package):
    (tmp_path / "scales").mkdir()
    scale = {"title": "t", "seeds": [1], "methods": {"own": {}}}
    scale["cost"] = {
        "device": "d",
        "seconds_per_image": {},
        "megabytes": {},
        "methods": {"own": 1},
        "source": "",
    }
    (tmp_path / "scales/mine.yaml").write_text(json.dumps(scale), encoding="utf-8")
    code = "import sys; from pathlib import Path; from wsis.declare.scale import load_scale"
    code += "; print([*load_scale('mine', Path(sys.argv[1])).methods])"
    assert python(code, package, words=(tmp_path,)).stdout == "['own']\n"
    said = python(code, words=(tmp_path,)).stderr.splitlines()[-1]
    assert "mine.yaml: cost.methods: no method 'own' (there are: " in said and "--include PATH" in said


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("own.py", "INFO = 3", "no INFO = Info(name=..., network=...)"),
        ("own.py", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("own.txt", "", "is neither a .py file nor a package"),
        ("json.py", "", "has the name of"),
        (
            "own.py",
            "from wsis.methods.info import Info\nINFO = Info('boxinst', 'own:Own')",
            "two methods are",
        ),
    ],
)
def test_what_is_no_method_is_refused(tmp_path, name, text, says):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert says in python(PLAN, tmp_path / name).stderr
