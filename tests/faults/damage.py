"""Ways to damage a file, as disks, kills and hands do it."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

FLIPPED, CUT = "flipped bytes", "cut or empty"


def damage(path: Path, kind: str, draw: Random) -> None:
    """Change a file that isn't empty. Flipped bits leave its size and time as they are."""
    status, content = path.stat(), bytearray(path.read_bytes())
    if kind == CUT:
        path.write_bytes(content[: draw.choice([0, draw.randrange(len(content))])])
        return
    for place in {draw.randrange(len(content)) for _ in range(draw.choice([1, 1, 8]))}:
        content[place] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
