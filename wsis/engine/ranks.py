"""Processes of one training that others have started: torchrun, or srun as the tasks of a step.

Each of them trains as one rank, on the card of its place on its machine. Otherwise this package starts the
processes of a training itself (wsis.engine.launch), on one machine.
"""

from __future__ import annotations

import os

from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)

from wsis.errors import WsisError


def outside() -> ClusterEnvironment | None:
    """How this process knows its rank and the others, where they were started from outside; else None."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_PROCID" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1:
        return SLURMEnvironment(auto_requeue=False)
    return None


def first_rank() -> bool:
    """Whether this process is the only one that was started from outside, or the first."""
    ranks = outside()
    return ranks is None or ranks.global_rank() == 0


def local_ranks(environment: ClusterEnvironment) -> int:
    """Processes of the training on this machine; WsisError where machines have different numbers."""
    world = environment.world_size()
    if isinstance(environment, TorchElasticEnvironment):
        return int(os.environ.get("LOCAL_WORLD_SIZE", world))
    machines = int(os.environ.get("SLURM_NNODES", 1))
    if world % machines:
        raise WsisError(f"{world} tasks on {machines} machines: srun --ntasks-per-node=N")
    return world // machines
