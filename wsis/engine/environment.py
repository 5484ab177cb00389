"""environment.json: software, hardware and command of a run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from wsis.engine.launch import device_name


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, the source's git commit, the command and the hardware.

    Keys: python, packages {name: version} of every installed distribution, cuda (version or null), commit
    (null outside a git checkout), modified (tracked files differ from the commit), command (list of words),
    device, cores, memory (bytes), system.
    """
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "python": platform.python_version(),
        "packages": packages(),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "commit": commit,
        "modified": bool(_git(root, "status", "--porcelain", "--untracked-files=no")) if commit else None,
        "command": ["python", "-m", "wsis", *sys.argv[1:]],
        "device": device_name(device),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
    }


def packages() -> dict[str, str]:
    """Name -> version of every installed distribution, by name; of two in the path's order the first."""
    there: dict[str, str] = {}
    for each in metadata.distributions():
        if each.name:  # a half-removed one has none
            there.setdefault(each.name.lower(), each.version)
    return dict(sorted(there.items()))


def _git(root: Path, *arguments: str) -> str | None:
    """Output of a git command in `root`; None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
