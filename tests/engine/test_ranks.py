"""Ranks that torchrun or Slurm starts: two on the loopback interface, as if on two machines, against one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
import torch

from tests.engine.toy import train_toy
from wsis.engine.ranks import local_ranks, outside
from wsis.errors import WsisError
from wsis.methods.weights import load_model

CODE = """
import sys
from pathlib import Path
from tests.engine.toy import train_toy
print(train_toy(Path(sys.argv[1]), devices=1, dropout=0.0)["devices"])
"""
NAMES = ("TORCHELASTIC_RUN_ID", "RANK", "LOCAL_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")


def torchrun(rank: int, port: int) -> dict[str, str]:
    """What torchrun sets for the only process of machine `rank` of two."""
    values = ("test", rank, 0, rank, 2, 1)
    return dict(zip(NAMES, map(str, values), strict=True)) | meeting(port)


def slurm(rank: int, port: int) -> dict[str, str]:
    """What srun sets for the only task of machine `rank` of two."""
    values = {"SLURM_NTASKS": 2, "SLURM_NNODES": 2, "SLURM_PROCID": rank, "SLURM_LOCALID": 0}
    values |= {"SLURM_NODEID": rank, "SLURM_NTASKS_PER_NODE": 1, "SLURM_JOB_ID": 7, "SLURM_JOB_NAME": "train"}
    return {key: str(value) for key, value in values.items()} | meeting(port)


def meeting(port: int) -> dict[str, str]:
    return {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}


@pytest.mark.parametrize("starter", [torchrun, slurm])
def test_two_machines_train_what_one_process_trains(starter, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CODE, str(tmp_path / "two")],
            env=os.environ | starter(rank, port) | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=180)[0].split()[-1] for process in processes]
    assert told == ["2", "2"] and not any(process.returncode for process in processes)
    train_toy(tmp_path / "one", dropout=0.0)
    one, two = (load_model(tmp_path / name / "model.safetensors")["model"] for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)


def test_a_slurm_job_with_one_task_starts_its_own_processes(monkeypatch):
    for key, value in (slurm(0, 1) | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(key, value)
    assert outside() is None
    monkeypatch.setenv("SLURM_NTASKS", "4")
    assert local_ranks(outside()) == 2
    monkeypatch.setenv("SLURM_NTASKS", "3")
    with pytest.raises(WsisError, match="3 tasks on 2 machines"):
        local_ranks(outside())
