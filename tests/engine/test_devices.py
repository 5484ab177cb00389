import multiprocessing

import pytest
import torch

from tests.impatient import Waits, without_patience
from wsis.declare.specs.schedule import ScheduleSpec
from wsis.engine import devices as devices_module
from wsis.engine.devices import accelerator_of, lease, lock_folder, visible_devices
from wsis.engine.launch import make_fabric
from wsis.errors import WsisError
from wsis.plan import make_plan

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def impatient(monkeypatch):
    without_patience(monkeypatch, devices_module)


def test_visible_devices_follow_the_environment(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 2")
    assert visible_devices(2) == ["5", "2"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert visible_devices(3) == ["0", "1", "2"]


def test_a_slurm_job_has_locks_of_its_own(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    alone = lock_folder()
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert lock_folder() != alone


def test_two_leases_never_share_a_card(tmp_path):
    with lease(["0", "1", "2"], 2, tmp_path) as first:
        assert first == [0, 1]
        with lease(["0", "1", "2"], 1, tmp_path) as second:
            assert second == [2]
        # Another process that sees the cards in another order still means the same cards.
        with lease(["2", "1", "0"], 1, tmp_path) as third:
            assert third == [0]
    with lease(["0", "1", "2"], 3, tmp_path) as all_free:
        assert all_free == [0, 1, 2]


def _hold(folder, ready):
    with lease(["0"], 1, folder):
        ready.set()
        ready.wait(60)
        FORK.Event().wait(60)


def test_a_card_is_waited_for_and_free_again_when_its_holder_is_killed(tmp_path, impatient):
    ready = FORK.Event()
    holder = FORK.Process(target=_hold, args=(tmp_path, ready))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(Waits), lease(["0"], 1, tmp_path):
        pass
    holder.kill()
    holder.join()
    with lease(["0"], 1, tmp_path) as free:
        assert free == [0]


def test_who_gets_too_few_gives_them_back(tmp_path, impatient):
    with lease(["0"], 1, tmp_path):
        with pytest.raises(Waits), lease(["0", "1"], 2, tmp_path):
            pass
        with lease(["1"], 1, tmp_path) as other:
            assert other == [0]


def test_more_cards_than_there_are_is_an_error(tmp_path):
    with pytest.raises(WsisError, match="3 devices asked for, but only 1"), lease(["0"], 3, tmp_path):
        pass


@pytest.mark.parametrize(
    "offered, batch, own, used",
    [(8, 16, 8, 8), (8, 6, 2, 2), (8, 6, 4, 3), (4, 6, 8, 3), (3, 16, 8, 2), (8, 1, 1, 1), (1, 16, 8, 1)],
)
def test_a_training_uses_a_divisor_of_its_batch_and_no_more_devices_than_its_own(offered, batch, own, used):
    assert ScheduleSpec(batch=batch, devices=own).usable_devices(offered) == used


def test_eight_cards_are_a_number_for_every_run_of_the_papers():
    schedules = [run.recipe.schedule for run in make_plan("paper").runs.values()]
    assert sum(schedule.batch % 8 > 0 for schedule in schedules) > 12  # that many split their batch unevenly
    for schedule in schedules:
        used = schedule.usable_devices(8)
        assert used == schedule.devices and schedule.batch % used == 0


@pytest.mark.parametrize("asked, devices", [("cuda", None), ("cuda", 2), (None, 1), (None, 2)])
def test_cards_that_were_asked_for_and_are_not_seen_are_refused(monkeypatch, asked, devices):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040).\nMore")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(devices_module, "driver", lambda: "NVIDIA UNIX x86_64 Kernel Module 470.57")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(WsisError) as error:
        accelerator_of(asked, devices)
    assert str(error.value) == (
        "cards were asked for, and torch sees none: The NVIDIA driver on your system is too old (found"
        f" version 11040) (torch {torch.__version__} (CUDA {torch.version.cuda}), NVIDIA UNIX x86_64 Kernel"
        " Module 470.57, CUDA_VISIBLE_DEVICES='0,1'); to train on the processor, give --accelerator cpu"
        " (workflow: gpus=0)"
    )
    with pytest.raises(WsisError, match="torch sees none"):
        make_fabric(ScheduleSpec(), "cuda", [0])


def test_the_processor_is_used_where_it_is_named_or_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerator_of("cpu", 2) == accelerator_of(None) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert accelerator_of("cpu") == "cpu" and accelerator_of(None) == accelerator_of(None, 2) == "cuda"


def test_another_accelerator_is_refused_by_name():
    with pytest.raises(WsisError, match="accelerator 'tpu': there are cpu and cuda"):
        accelerator_of("tpu")
