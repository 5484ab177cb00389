import multiprocessing

import pytest

from wsis.engine import devices
from wsis.engine.devices import lease, lock_folder, visible_devices
from wsis.errors import WsisError

FORK = multiprocessing.get_context("fork")


class Waits(Exception):
    """Raised in the place of the first wait."""


@pytest.fixture
def impatient(monkeypatch):
    def sleep(seconds):
        raise Waits

    monkeypatch.setattr(devices.time, "sleep", sleep)


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
