"""A few faults of the program that `make faults` runs with many."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.operations import watch
from wsis.files import write_text

ROOT = Path(__file__).resolve().parents[2]


def ends(folder, last):
    """How a process ends that writes a file twice, and the operations that it told."""
    reads, tells = os.pipe()
    pid = os.fork()
    if pid == 0:
        watch(folder, tells, last)
        for text in ("old", "new"):
            write_text(folder / "a.txt", text)
        os._exit(0)
    os.close(tells)
    with os.fdopen(reads) as told:
        lines = [line.split("\t")[0] for line in told]
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), lines


def test_a_process_dies_before_any_operation_and_its_files_are_old_or_new(tmp_path):
    code, told = ends(tmp_path / "whole", None)
    assert code == 0 and told[0] == "begin" and told.count("os.rename") == told.count("open") == 2
    for last in range(1, len(told)):
        code, before = ends(tmp_path / str(last), last)
        assert code == -9 and before == told[:last]
        renamed = before.count("os.rename")
        path = tmp_path / str(last) / "a.txt"
        assert (path.read_text() if path.exists() else "") == ("", "old", "new")[renamed]


@pytest.mark.slow
def test_some_faults_are_survived():
    words = ["--seed", os.environ.get("SEED", "5"), "--count", "3", "--papers", "boxinst"]
    words += ["--stages", "last training", "prediction", "evaluation"]
    call = [sys.executable, "-m", "tests.faults", *words]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "3 of 3 survived" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_flipped_bytes_are_found():
    words = [
        "--seed",
        os.environ.get("SEED", "5"),
        "--count",
        os.environ.get("N", "45"),
        "--papers",
        "boxcaseg",
    ]
    call = [sys.executable, "-m", "tests.faults.flips", *words]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and " 0 not found" in done.stdout, done.stdout + done.stderr
