"""Peak memory of one step, on the CPU and on graphics cards."""

from __future__ import annotations

import ctypes
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def now(device: str) -> float:
    """Seconds, when the device has finished what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def peak(step: Callable[[], Any], device: str) -> float | None:
    """MB that one step needs above what is held before it; None where the system doesn't tell."""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    try:
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _status("VmRSS")
        step()
        return (_status("VmHWM") - before) / 2**10
    except OSError:
        return None


def fix_mmap_threshold() -> None:
    """Make glibc return every large block at once, or memory kept from an earlier step hides a peak."""
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(-3, 1 << 16)  # M_MMAP_THRESHOLD; setting it also stops its growth


def _status(key: str) -> int:
    """A line of /proc/self/status, kB."""
    return int(re.search(rf"{key}:\s+(\d+)", Path("/proc/self/status").read_text())[1])
