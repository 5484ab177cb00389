"""Snakemake itself is killed, alone: its trainer lives on, and the workflow is unlocked and started again."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from tests.faults.chains import ROWS, SCALE, plan
from tests.faults.damage import CUT, damage
from tests.faults.same import half_written, same
from tests.workflow.test_workflow import command, copied, environment
from wsis.results.verify import verify_results

TARGET = ("--config", f"scale={SCALE}", "--", "boxinst_3")
OTHERS = {"results", "reports", ".snakemake", "home", "tmpdir"}
TOOLS = (
    ".cache/snakemake",
    ".cache/matplotlib",
    ".config/matplotlib",
)  # of Snakemake and of libraries, in HOME


def around(checkout: Path) -> dict[str, str]:
    """The environment of a user whose home and temporary folder lie beside the results."""
    folders = {name: checkout / name.lower() for name in ("HOME", "TMPDIR")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    return environment(checkout) | {name: str(folder) for name, folder in folders.items()}


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run(words, cwd=checkout, env=around(checkout), capture_output=True, text=True)


def listing(checkout: Path) -> dict[str, int]:
    """File -> time of all but results, reports and what the tools keep."""
    found = {}
    for base, folders, files in os.walk(checkout):
        if Path(base) == checkout:
            folders[:] = [name for name in folders if name not in OTHERS]
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {os.path.join(base, name): os.stat(os.path.join(base, name)).st_mtime_ns for name in files}
    return found


def waited(seconds: float, what):
    """What `what` gives as soon as it gives something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return copied(tmp_path_factory.mktemp("live"))


@pytest.mark.slow
def test_a_second_trainer_waits_for_the_first_and_results_are_the_same(checkout, tmp_path):
    before, runs = listing(checkout), checkout / "results" / SCALE / "runs"

    def trainer():
        for path in runs.glob("*/.writer"):
            if found := re.match(r"process (\d+) on", path.read_text()):
                return int(found[1])

    def waiting():
        logs = runs.parent.glob("logs/train/*.log.*")  # *.log is a link to one that is still to come
        return [log for log in logs if "waits for process" in log.read_text()]

    first = subprocess.Popen(
        command(*TARGET),
        cwd=checkout,
        env=around(checkout),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    pid = waited(300, trainer)
    os.kill(pid, signal.SIGSTOP)
    first.kill()
    first.wait()
    assert run(checkout, *command("--unlock", *TARGET)).returncode == 0
    again = subprocess.Popen(
        command(*TARGET), cwd=checkout, env=around(checkout), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        waited(300, waiting)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert again.wait(600) == 0, again.stdout.read()[-3000:]
    assert verify_results(checkout / "results") == [] and half_written(checkout) == []
    table, row, _ = ROWS["boxinst"]
    alone = plan().with_needed(plan().row_runs(table, row).values())
    words = [sys.executable, "-m", "wsis", "train", "--scale", SCALE, "--results", str(tmp_path), *alone]
    (tmp_path / SCALE).mkdir()
    (tmp_path / SCALE / "data").symlink_to(runs.parent / "data")
    assert run(checkout, *words).returncode == 0
    for id in alone:
        for path in (tmp_path / SCALE / "runs" / id).glob("*"):
            if path.name in ("model.safetensors", "predictions.json", "log.jsonl"):
                assert same(path, runs / id / path.name), path
    assert listing(checkout) == before, "written outside of results and reports"
    assert not [path for path in (checkout / "tmpdir").rglob("*") if path.is_file()]
    kept = [
        str(path.relative_to(checkout / "home")) for path in (checkout / "home").rglob("*") if path.is_file()
    ]
    assert all(name.startswith(TOOLS) for name in kept), kept


# All are cut or emptied at once, in the runs in turn.
KINDS = ("model.safetensors", "predictions.json", "metrics.json", "train.json", "recipe.json")
KINDS += ("checkpoints/finished.json", "environment.json", "log.jsonl")


@pytest.mark.slow
def test_after_damage_the_same_call_makes_the_same_or_verify_says_what_to_do(checkout):
    """It needs the test before it: its results are damaged."""
    results, draw = checkout / "results" / SCALE, Random(1)
    runs = sorted(path.parent for path in results.glob("runs/*/metrics.json"))
    whole = {path: path.read_bytes() for run in runs for path in run.rglob("*") if path.is_file()}
    hit = [runs[number % len(runs)] / name for number, name in enumerate(KINDS)]
    hit += [*results.glob("jobs.json"), *results.glob("data/*/train/000001.png"), results / "rendered.json"]
    for path in hit:
        damage(path, CUT, draw)
    for _ in range(3):
        done = run(checkout, *command(*TARGET))
        findings = verify_results(checkout / "results")
        if done.returncode == 0 and not findings:
            break
        assert "Traceback" not in done.stdout + done.stderr, (done.stdout + done.stderr)[-3000:]
        for said in dict.fromkeys(finding.command for finding in findings):
            subprocess.run(said, shell=True, cwd=checkout, env=around(checkout), check=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert findings == [] and half_written(checkout) == []
    for path, content in whole.items():
        if path.name in ("model.safetensors", "predictions.json", "metrics.json"):
            assert path.read_bytes() == content, path
