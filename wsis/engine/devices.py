"""Which devices there are, and how a machine's graphics cards are lent to one training at a time.

Snakemake counts cards but sets no CUDA_VISIBLE_DEVICES, so two jobs would share the first card. A card is
taken by an exclusive lock on a file of its own, which the system frees when the process ends in any way.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import torch

from wsis.errors import WsisError

POLL = 2.0  # seconds between attempts


def accelerator_of(asked: str | None, devices: int | None = None) -> str:
    """ "cuda" or "cpu": what was asked for, else cards where there are any.

    devices: how many were asked for. Raises WsisError for another one than these, and where cards were asked
    for and torch sees none.
    """
    if asked not in (None, "cpu", "cuda"):
        raise WsisError(f"accelerator '{asked}': there are cpu and cuda")
    if asked == "cpu" or (asked is None and not devices and not torch.cuda.is_available()):
        return "cpu"
    check_cards()
    return "cuda"


def check_cards() -> None:
    """Raise WsisError, with the driver and torch's build, where torch sees no graphics card."""
    if torch.cuda.is_available():
        return
    try:
        torch.cuda.init()
        reason = "no device"
    except (AssertionError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = "" if listed is None else f", CUDA_VISIBLE_DEVICES={listed!r}"
    build = f"torch {torch.__version__} (CUDA {torch.version.cuda or 'none: a build for processors'})"
    raise WsisError(
        f"cards were asked for, and torch sees none: {reason} ({build}, {driver()}{visible});"
        " to train on the processor, give --accelerator cpu (workflow: gpus=0)"
    )


def driver() -> str:
    """The NVIDIA driver as the kernel names it."""
    try:
        lines = Path("/proc/driver/nvidia/version").read_text().splitlines()
    except OSError:
        return "no NVIDIA driver"
    return " ".join(lines[0].partition(":")[2].split())


def visible_devices(count: int) -> list[str]:
    """Names of the `count` cards this process sees, as CUDA_VISIBLE_DEVICES gives them, else their index."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in listed.split(",")] if listed else [str(i) for i in range(count)]
    return names[:count]


def lock_folder() -> Path:
    """Where the locks lie: one folder a user and a Slurm job (Slurm has lent the job its cards already)."""
    job = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir()) / f"wsis-devices-{os.getuid()}{f'-{job}' if job else ''}"


@contextmanager
def lease(names: Sequence[str], wanted: int, folder: Path | None = None) -> Iterator[list[int]]:
    """Positions in `names` of `wanted` cards that nobody else holds, held until the context ends.

    Waits until so many are free. Raises WsisError for more than there are. Two waiting processes can't block
    each other: who gets too few gives them all back. folder: where the locks lie, `lock_folder` by default.
    """
    if wanted > len(names):
        raise WsisError(f"{wanted} devices asked for, but only {len(names)} are visible")
    folder = folder or lock_folder()
    folder.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with ExitStack() as held:
            taken: list[int] = []
            for position, name in enumerate(names):
                if len(taken) < wanted and _lock(folder / f"{name.replace('/', '_')}.lock", held):
                    taken.append(position)
            if len(taken) == wanted:
                yield taken
                return
        if not told:
            print(f"waiting for {wanted} free device(s) of {', '.join(names)}", file=sys.stderr, flush=True)
            told = True
        time.sleep(POLL)


def _lock(path: Path, held: ExitStack) -> bool:
    """Lock `path` until `held` closes; False when somebody else has it."""
    file: IO[str] = open(path, "a")  # noqa: SIM115 (closed by `held` or below)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    held.callback(file.close)
    return True
