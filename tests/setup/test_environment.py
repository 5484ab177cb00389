"""pyproject.toml, requirements.lock and environment.yml list the same packages, and the lock is complete."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
# Where conda calls a package something else than the Python package index does.
CONDA_NAMES = {
    "torch": "pytorch",
    "matplotlib": "matplotlib-base",
    "snakemake": "snakemake-minimal",
    "opencv-python-headless": "py-opencv",
}
# What environment.yml has beside the project's direct dependencies.
CONDA_ONLY = {"python", "pip", "setuptools", "detectron2"}


def direct() -> dict[str, Requirement]:
    """Direct dependencies of the project with its dev extra, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["dependencies"] + project["optional-dependencies"]["dev"]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def locked() -> dict[str, tuple[str, list[str]]]:
    """Name -> (version, hashes) of requirements.lock; anything else than pins, hashes and comments fails."""
    pins: dict[str, tuple[str, list[str]]] = {}
    text = (ROOT / "requirements.lock").read_text().replace("\\\n", " ")
    for line in text.splitlines():
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"([a-z0-9.-]+)==(\S+)((?:\s+--hash=sha256:[0-9a-f]{64})*)", line)
        assert match, f"requirements.lock: not a plain pin: {line[:80]}"
        pins[canonicalize_name(match[1])] = (match[2], match[3].split())
    return pins


def conda() -> tuple[dict[str, Requirement], dict[str, Requirement]]:
    """environment.yml's packages by conda name, and its pip requirements by name."""
    tree = yaml.safe_load((ROOT / "environment.yml").read_text())
    packages = [Requirement(line) for line in tree["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in tree["dependencies"] if isinstance(line, dict)]
    return {r.name: r for r in packages}, {r.name: r for r in map(Requirement, pip)}


@pytest.mark.parametrize("name", sorted(direct()))
def test_a_direct_dependency_is_locked_within_its_bounds(name):
    assert name in locked(), f"{name} is in pyproject.toml but not in requirements.lock: run 'make lock'"
    version = locked()[name][0]
    assert direct()[name].specifier.contains(version), f"{name} is locked at {version}: run 'make lock'"


@pytest.mark.parametrize("name", sorted(direct()))
def test_a_direct_dependency_is_in_the_conda_environment_with_the_same_bounds(name):
    packages, pip = conda()
    found = packages.get(CONDA_NAMES.get(name, name)) or pip.get(name)
    assert found, f"{name} is in pyproject.toml but not in environment.yml"
    assert found.specifier == direct()[name].specifier


def test_the_conda_environment_has_nothing_else():
    packages, pip = conda()
    known = {CONDA_NAMES.get(name, name) for name in direct()} | CONDA_ONLY
    assert set(packages) <= known
    assert set(pip) <= set(direct())


def test_the_conda_environment_suits_detectron2():
    tree = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert tree["channels"] == ["conda-forge", "bioconda", "nodefaults"]
    packages, _ = conda()
    assert "detectron2" in packages
    assert not packages["setuptools"].specifier.contains("81.0.0")
    build = Requirement(tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"][0])
    assert build.specifier.contains("80.9.0"), "the project itself has to install with that setuptools"


def test_every_pin_has_hashes():
    bare = [name for name, (_, hashes) in locked().items() if not hashes]
    assert not bare
    assert len(locked()) > len(direct())


def test_no_file_names_a_package_index():
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile"):
        text = (ROOT / name).read_text()
        assert not re.search(r"--(extra-)?index-url|--find-links|file://|https?://", text), name


def test_torch_and_torchvision_are_a_pair():
    """torchvision's compiled operators are built against the torch that its metadata names."""
    torch, vision = (locked()[name][0] for name in ("torch", "torchvision"))
    if metadata.version("torchvision") != vision:
        pytest.skip(
            f"the environment has torchvision {metadata.version('torchvision')}, not the locked {vision}"
        )
    wanted = next(r for r in map(Requirement, metadata.requires("torchvision")) if r.name == "torch")
    assert wanted.specifier.contains(torch), f"torchvision {vision} wants {wanted}, not {torch}"
