"""pyproject.toml, requirements.lock and environment.yml list the same packages, and the lock is complete."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
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
# What only cards use and can't go: torch's libraries link against it, and torch doesn't load without it.
LOADED = {
    "nvidia-cublas",
    "nvidia-cuda-cupti",
    "nvidia-cuda-nvrtc",
    "nvidia-cuda-runtime",
    "nvidia-cudnn-cu13",
    "nvidia-cufft",
    "nvidia-cufile",
    "nvidia-cusparse",
    "nvidia-cusparselt-cu13",
    "nvidia-nccl-cu13",
    "nvidia-nvshmem-cu13",
}
# What environment.yml has beside the project's direct dependencies.
CONDA_ONLY = {"python", "pip", "setuptools", "detectron2"}


def direct() -> dict[str, Requirement]:
    """Direct dependencies of the project with its extras dev and small, by canonical name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = project["dependencies"] + extras["dev"] + extras["small"]
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


def card_only() -> set[str]:
    """The packages that `make env CARD=none` leaves out."""
    lines = (ROOT / "requirements.card").read_text().splitlines()
    return {name for line in lines if (name := line.split("#")[0].strip())}


def undisturbed() -> dict[str, str]:
    """The environment without what a make around the tests put into it."""
    mine = {"MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "CARD", "CONFIG"}
    return {name: value for name, value in os.environ.items() if name not in mine}


def recipe(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make env` would do for an environment in `folder`; undisturbed by a make around the tests."""
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    clean = undisturbed()
    command = ["make", "--dry-run", "--no-print-directory", f"VENV={folder}", *arguments, "env"]
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True)


def test_every_package_for_cards_is_left_out_without_one_or_known_to_be_needed():
    serves_cards = {name for name in locked() if re.match(r"triton$|cuda-|nvidia-", name)}
    assert card_only() | LOADED == serves_cards, "decide about the new ones, and drop what the lock lost"
    assert not card_only() & LOADED
    assert not card_only() & set(direct())


def test_the_environment_is_complete_unless_told_otherwise(tmp_path):
    complete = recipe(tmp_path)
    assert "--require-hashes  -r requirements.lock" in complete.stdout
    assert "requirements.card" not in complete.stdout
    assert f"touch {tmp_path}/installed\n" in complete.stdout
    assert recipe(tmp_path, "CARD=any").stdout == complete.stdout


def test_an_environment_without_a_card_is_the_lock_less_what_only_cards_need(tmp_path):
    lines = recipe(tmp_path, "CARD=none").stdout.splitlines()
    install, uninstall = (line.split() for line in lines if "requirements.card" in line)
    assert install[1:3] == ["pip", "install"]
    assert {"--require-hashes", "--excludes", "-r", "requirements.lock"} <= set(install)
    assert install[install.index("--excludes") + 1] == "requirements.card"
    assert uninstall[1:3] == ["pip", "uninstall"], "a complete environment gets smaller"
    assert lines[-1] == f"touch {tmp_path}/installed-without-card"


def test_an_environment_keeps_its_kind_and_changing_it_installs_again(tmp_path):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    (tmp_path / "installed-without-card").touch()  # newer than the lock
    assert "Nothing to be done" in recipe(tmp_path).stdout
    other = recipe(tmp_path, "CARD=any").stdout.splitlines()
    assert other[0] == f"rm -f {tmp_path}/installed-without-card", "not complete nor small while it changes"
    assert other[-1] == f"touch {tmp_path}/installed"


def test_an_unknown_kind_of_environment_is_refused(tmp_path):
    refused = recipe(tmp_path, "CARD=maybe")
    assert refused.returncode != 0
    assert "CARD is any" in refused.stderr and '"maybe"' in refused.stderr


def test_every_pin_has_hashes():
    bare = [name for name, (_, hashes) in locked().items() if not hashes]
    assert not bare
    assert len(locked()) > len(direct())


def test_no_file_names_a_package_index():
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile", "requirements.card"):
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


@pytest.mark.parametrize(
    ("target", "program", "expected"),
    [
        ("reproduce", "wsis", ["--config", 'gpus=0 set={"schedule.lr":1e-3,"a":[1,2]}', "headline"]),
        ("report", "snakemake", ["gpus=0", 'set={"schedule.lr":1e-3,"a":[1,2]}', "--", "report"]),
    ],
)
def test_the_configuration_reaches_programs_with_its_quotes_and_braces(tmp_path, target, program, expected):
    if shutil.which("make") is None:
        pytest.skip("there is no make")
    (tmp_path / "bin").mkdir()
    for path in (tmp_path / "bin" / "python", tmp_path / "bin" / program):
        path.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
        path.chmod(0o755)
    (tmp_path / "installed").touch()  # newer than the lock
    config = 'CONFIG=gpus=0 set={"schedule.lr":1e-3,"a":[1,2]}'
    command = ["make", "--no-print-directory", f"VENV={tmp_path}", config, target]
    done = subprocess.run(command, cwd=ROOT, env=undisturbed(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-len(expected) :] == expected
