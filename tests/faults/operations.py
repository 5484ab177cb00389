"""The operations by which a process changes files: told one by one; it can die before any of them."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}
CHANGES |= {"os.utime", "os.link", "os.symlink"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def watch(folder: Path, told: int, last: int | None = None, head: str = "") -> None:
    """From now on this process writes a line to `told` before each operation on a file below `folder`.

    Operation 0 is the begin. It dies by SIGKILL before operation `last`. Python tells them to an audit hook,
    which stays; its children's aren't counted. head: what each line begins with.
    """
    own, count, base = os.getpid(), 1, f"{folder}{os.sep}"
    os.write(told, f"{head}begin\t\n".encode())

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event == "open":
            if not (arguments[2] or 0) & WRITES:
                return
        elif event not in CHANGES:
            return
        path = arguments[1 if event == "os.rename" else 0]
        if not isinstance(path, (str, bytes, os.PathLike)) or os.getpid() != own:
            return
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith(base):
            return
        if count == last:
            os.kill(own, signal.SIGKILL)
        count += 1
        os.write(told, f"{head}{event}\t{path.removeprefix(base)}\n".encode(errors="replace"))

    os.register_at_fork(after_in_child=partial(os.close, told))
    sys.addaudithook(hook)
