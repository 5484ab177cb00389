"""What the package reads beside its code: inside of it in a wheel, next to it in a checkout."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def carried(name: str) -> Path:
    """The folder `name` that the wheel carries (setup.py): "ablations", "config" or "workflow"."""
    inside = PACKAGE / name
    return inside if inside.is_dir() else PACKAGE.parent / name
