"""What lies outside of results and reports, and whether a command wrote there."""

from __future__ import annotations

import os
from pathlib import Path

from wsis.declare.load import ROOT as DECLARATIONS

OWN = {"results", "reports"}
CHECKOUT = DECLARATIONS.parent


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """File or folder -> size and time: of a folder but for results and reports, and of the code itself."""
    roots = [path for path in folder.iterdir() if path.name not in OWN]
    roots += [CHECKOUT / name for name in ("wsis", "ablations", "workflow", "config")]
    found = dict[str, tuple[int, int]]()
    for root in roots:
        for base, folders, files in os.walk(root):
            folders[:] = [name for name in folders if name != "__pycache__"]
            for name in (*files, ""):
                status = os.stat(os.path.join(base, name))
                if name or root.parent == folder:  # of the code, only files
                    found[os.path.join(base, name)] = (status.st_size, status.st_mtime_ns)
    return found


def written(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return [f"outside of results and reports: {name}" for name in sorted(changed)]
