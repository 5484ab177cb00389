"""The wheel works without a checkout: it carries the declarations and the workflow, and knows its version."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "README.md",
    "LICENSE",
    "ablations",
    "config",
    "environment.yml",
    "pyproject.toml",
    "setup.py",
    "workflow",
    "wsis",
)


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder that holds what the wheel installs, built from sources without git."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"
    sources.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, sources)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*command, "--wheel-dir", str(folder), str(sources)], check=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def called(installed: Path, folder: Path, *arguments: str) -> str:
    """What a command prints that finds the installed package alone, in an empty folder."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SETUPTOOLS_SCM")}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=clean | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_carries_every_declaration_and_rule(installed):
    for name in ("ablations", "workflow"):
        there = {
            path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if path.suffix in (".yaml", ".smk")
        }
        carried = {path.relative_to(installed / "wsis") for path in (installed / "wsis" / name).rglob("*.*")}
        assert there and there <= carried
    assert (installed / "wsis" / "workflow" / "Snakefile").is_file()


def test_it_plans_all_tables_in_another_folder(installed, tmp_path):
    tables = json.loads(called(installed, tmp_path, "-m", "wsis", "tables", "--json"))
    assert len(tables) == len(list((ROOT / "ablations").glob("*/table*.yaml")))


def test_it_has_the_fallback_version_without_git(installed, tmp_path):
    assert called(installed, tmp_path, "-m", "wsis", "--version") == "wsis 0.1.0\n"


@pytest.mark.slow
def test_its_workflow_is_found_in_another_folder(installed, tmp_path):
    snakefile = installed / "wsis" / "workflow" / "Snakefile"
    flags = ["--snakefile", str(snakefile), "--cores", "1", "--dry-run", "--quiet", "--config", "scale=smoke"]
    called(installed, tmp_path, "-m", "snakemake", *flags, "--", "boxinst_3")
    assert not (tmp_path / "reports").exists()
