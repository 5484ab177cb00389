"""The linters are the same everywhere, and what `make fast` leaves out exists."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_hooks_are_the_linters_of_make_lint():
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    commands = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()]
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local", "nothing is fetched"
    assert [hook["entry"] for hook in local["hooks"]] == commands


def test_continuous_integration_calls_them():
    assert re.search(r"^make lint$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_what_make_fast_leaves_out_exists():
    for line in (ROOT / "tests" / "trains.txt").read_text().splitlines():
        path, _, test = line.partition("::")
        if not line.startswith("#"):
            assert (ROOT / "tests" / path).exists(), line
            assert not test or f"def {test}(" in (ROOT / "tests" / path).read_text(), line
