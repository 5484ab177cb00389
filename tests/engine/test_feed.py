"""Who reads for a device, and how batches reach it."""

from __future__ import annotations

import os

import pytest
import torch

from wsis.engine.feed import MOST, cores, on_device, readers


@pytest.mark.parametrize(("given", "expected"), [(None, 12), ("4", 4), ("64", 12), ("", 12), ("many", 12)])
def test_the_cores_are_those_that_the_job_was_given(monkeypatch, given, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if given is not None:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", given)
    assert cores() == expected


def test_one_core_drives_the_card_and_the_others_read():
    assert [readers("cuda", share) for share in (0, 1, 2, 5, 99)] == [1, 1, 1, 4, MOST]
    assert readers("cpu", 8) == 0


def test_on_the_processor_batches_pass_as_they_are():
    items = [[object()], [object()]]
    assert list(on_device(iter(items), torch.device("cpu"))) == items
