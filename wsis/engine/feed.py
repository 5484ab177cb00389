"""How batches reach a device: who reads them, and when they are copied."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch

from wsis.data.structures import Batch

MOST = 8  # processes that read for one device; more don't help


def cores() -> int:
    """Processors that this process may use, as the system and Slurm say."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(allowed, int(given)) if given.isdigit() and int(given) else allowed


def readers(accelerator: str, share: int) -> int:
    """Processes that read for one device with a `share` of the cores.

    On the CPU none: training takes all cores. Beside a card all but one, which drives the card.
    """
    return 0 if accelerator == "cpu" else min(max(share - 1, 1), MOST)


def on_device(stream: Iterator[list[Batch]], device: torch.device) -> Iterator[list[Batch]]:
    """Each iteration's batches, which a card is sent while it computes the iteration before.

    Elsewhere they are passed on as they are.
    """
    if device.type != "cuda":
        yield from stream
        return
    copies, computing = torch.cuda.Stream(device), torch.cuda.current_stream(device)

    def send() -> list[Batch] | None:
        micros = next(stream, None)
        copies.wait_stream(computing)  # memory of former batches is used again once they were computed
        with torch.cuda.stream(copies):
            return micros and [batch.to(device) for batch in micros]

    following = send()
    while following is not None:
        computing.wait_stream(copies)
        ready, following = following, send()
        yield ready
