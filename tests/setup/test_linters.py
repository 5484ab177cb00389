"""`make lint` and the pre-commit hooks call the same commands."""

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
