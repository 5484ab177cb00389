"""The speed of this machine: CPU seconds of a fixed piece of work that looks like a tiny training step.

Costs at the generated scales are declared in units of it (ablations/scales), so that an estimate fits the
machine it is made on. A unit is PASSES forward and backward passes of four 3 x 3 convolutions with batch
norm and ReLU, 8 images x 48 channels, two at 24 x 24 and two at 12 x 12, on one thread, in float32, which
generated scales train in. It is measured once and kept in results/calibration.json. torch is imported to
measure only.
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsis.files import kept, write_json

PASSES = 100  # of a unit
SECONDS = 2.0  # of CPU time to measure for
IMAGES, CHANNELS, SIDE = 8, 48, 24
LOWERS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")  # instruction sets


def calibrated(results: Path) -> float:
    """CPU seconds of a unit on this machine: as known, else measured now and kept."""
    if (unit := known_unit(results)) is not None:
        return unit
    path = results / "calibration.json"
    known = kept(path)
    known[machine()] = measure()
    write_json(path, known)
    return known[machine()]["unit"]


def known_unit(results: Path) -> float | None:
    """CPU seconds of a unit on this machine as it is set up now; None where it has not been measured."""
    measured = kept(results / "calibration.json").get(machine())
    unit = measured.get("unit") if isinstance(measured, dict) else None
    return unit if type(unit) in (int, float) and 0 < unit < math.inf else None


def machine() -> str:
    """What a measured unit is true of: host, processor, torch, and what lowers its instruction sets."""
    lowered = [f"{name}={os.environ[name]}" for name in LOWERS if os.environ.get(name)]
    return ", ".join([platform.node(), processor(), f"torch {version('torch')}", *lowered])


def processor() -> str:
    """The processor's name, as the system has it."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def flags() -> list[str]:
    """The vector instructions of this processor that decide how fast a convolution is."""
    there = _cpuinfo("flags").split()
    return [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile") if name in there]


def _cpuinfo(key: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def measure(seconds: float = SECONDS) -> dict[str, Any]:
    """{"unit": CPU seconds of it, "passes": how many were timed}."""
    import torch
    from torch import nn

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    layers = [
        part
        for _ in range(4)
        for part in (
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False),
            nn.BatchNorm2d(CHANNELS),
            nn.ReLU(),
        )
    ]
    fine, coarse = nn.Sequential(*layers[:6]), nn.Sequential(nn.MaxPool2d(2), *layers[6:])
    images = torch.randn(IMAGES, CHANNELS, SIDE, SIDE)
    times: list[float] = []
    try:
        end = time.process_time() + seconds
        while time.process_time() < end or len(times) < 3:
            start = time.process_time()
            coarse(fine(images)).square().mean().backward()
            times.append(time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    return {"unit": statistics.median(times[1:]) * PASSES, "passes": len(times)}
