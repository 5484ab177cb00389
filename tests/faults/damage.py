"""Ways to damage a file, as disks, kills and hands do it."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

from wsis.files import checksum_file

FLIPPED, CUT = "flipped bytes", "cut or empty"
REMOVED, SWAPPED = "removed", "swapped with another"


def damage(path: Path, kind: str, draw: Random, folder: Path | None = None) -> str:
    """Change a file that isn't empty; says how. Flipped bits leave its size and time as they are.

    folder: of the files with which it may be swapped
    """
    if kind == REMOVED:
        path.unlink()
        return kind
    if kind == SWAPPED:
        assert folder is not None
        return swapped(path, draw.choice(others(path, folder)), draw.random() < 0.3)
    status, content = path.stat(), bytearray(path.read_bytes())
    if kind == CUT:
        path.write_bytes(content[: draw.choice([0, draw.randrange(len(content))])])
        return kind
    for place in {draw.randrange(len(content)) for _ in range(draw.choice([1, 1, 8]))}:
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return kind


def swapped(path: Path, other: Path, whole: bool) -> str:
    """Exchange two files, with their times; whole: their checksums as well. Says with which."""
    pairs = [(path, other), *([(checksum_file(path), checksum_file(other))] if whole else [])]
    for one, two in pairs:
        if one.exists() and two.exists():
            between = one.with_name(f"{one.name}.between")
            os.replace(one, between)
            os.replace(two, one)
            os.replace(between, two)
    return f"{other.name} of {other.parent}{', with its checksum' if whole else ''}"


def others(path: Path, folder: Path) -> list[Path]:
    """The files of the same name in other folders, in `folder`; else those of the same kind beside it."""
    parts = path.relative_to(folder).parts
    found = set[Path]()
    for number in range(len(parts) - 1):
        found |= {*folder.glob(str(Path(*parts[:number], "*", *parts[number + 1 :])))}
    if len(found) < 2:
        found |= {*path.parent.glob(f"*{path.suffix}")}
    content = path.read_bytes()
    return sorted(each for each in found - {path} if each.is_file() and each.read_bytes() != content)
