"""What all processes of a training do when a signal has reached one of them."""

from __future__ import annotations

import torch
from lightning_fabric import Fabric

from wsis.signals import Interrupted, status_of


def stop_together(fabric: Fabric, number: int, text: str) -> None:
    """Raise Interrupted on every rank where the signal `number` (0: none) has reached one of them.

    A rank that has nothing left to do waits here for the others.
    """
    if fabric.world_size > 1:
        reached = torch.tensor(float(number), device=fabric.device)
        number = int(fabric.all_reduce(reached, reduce_op="max"))
    if number:
        raise Interrupted(text, status_of(number))
