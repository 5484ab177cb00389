"""Randomness that a resumed training continues exactly.

Methods draw from a generator seeded by (recipe seed, iteration, shard), so nothing of theirs has to be
saved. The process-wide generators (dropout and the like) are saved with each checkpoint.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

import numpy as np
import torch


def seed_of(*parts: int | str) -> int:
    """A 63-bit seed from `parts`; different parts give unrelated seeds."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def seed_process(*parts: int | str) -> None:
    """Seed Python's, numpy's and torch's (all devices) process-wide generators from `parts`."""
    seed = seed_of("process", *parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def rng_state(device: torch.device) -> dict[str, Any]:
    """State of the process-wide generators as tensors and plain types (`torch.load(weights_only=True)`)."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": (torch.from_numpy(keys.astype(np.int64)), int(position), int(has_gauss), float(cached)),
        "python": (version, torch.tensor(words), gauss),
    }


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Undo `rng_state`. A state taken on another kind of device leaves this device's generator alone."""
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
    keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
