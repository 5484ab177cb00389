"""A split batch is the batch: two gloo processes, and two accumulation steps, against one process."""

from __future__ import annotations

import pytest
import torch

from tests.engine.split import CASES, Way, outcome

# What a shard decides alone: which pixels are the hardest and which cells are compared; which RoIs are drawn.
ALONE = ("baiseg, contrast and hardest", "mask_rcnn", "boxcaseg, by device")
TWO, STEPS = Way(devices=2, images=2), Way(images=2)
LIVE = [name for name in CASES if "," not in name and name not in ALONE]


@pytest.mark.parametrize("name", [name for name in CASES if name not in ALONE])
def test_the_gradient_is_that_of_one_process(name, tmp_path):
    one = outcome(tmp_path / "one", name)
    assert name != "sim, pasting" or one.losses[0]["loss_paste"] > 0
    for way in (TWO, STEPS):
        found = outcome(tmp_path / f"{way.devices}", name, way)
        assert found.away(one) < 1e-5
        assert found.losses[0] == pytest.approx(one.losses[0], rel=1e-4, abs=1e-6)


def test_without_totals_of_the_batch_it_is_another_one(tmp_path):
    """`loss.normalise: device`, which also says so where the parts are not the paper's."""
    name = "boxcaseg, by device"
    found = outcome(tmp_path / "two", name, TWO)
    assert found.away(outcome(tmp_path / "one", name)) > 0.1
    assert "losses normalised over 2 instead of 4 images (loss.normalise device)" in found.said["deviations"]


@pytest.mark.parametrize("name", LIVE)
def test_with_synchronised_norms_gradient_and_statistics_are_those_of_one_process(name, tmp_path):
    one = outcome(tmp_path / "one", name, Way(norm="live"))
    two = outcome(tmp_path / "two", name, Way(2, 2, "sync"))
    assert two.away(one) < 5e-4  # BAISeg's many layers multiply the rounding
    torch.testing.assert_close(two.statistics, one.statistics, rtol=1e-4, atol=1e-6)
    assert not any("batch norm" in said for said in two.said["deviations"])


def test_without_them_the_gradient_differs_and_the_deviation_is_told(tmp_path):
    one = outcome(tmp_path / "one", "boxcaseg", Way(norm="live"))
    two = outcome(tmp_path / "two", "boxcaseg", Way(2, 2, "live"))
    assert two.away(one) > 0.1
    assert "batch norm over 2 instead of 4 images" in two.said["deviations"]


@pytest.mark.parametrize("name", ["boxinst", "boxcaseg"])
def test_the_first_ten_losses_are_those_of_one_process(name, tmp_path):
    one = outcome(tmp_path / "one", name, Way(norm="live", steps=10))
    two = outcome(tmp_path / "two", name, Way(2, 2, "sync", steps=10))
    assert len(one.losses) == 10 and one.losses[0] != one.losses[9]
    for mine, theirs in zip(one.losses, two.losses, strict=True):
        assert theirs == pytest.approx(mine, rel=1e-3)
