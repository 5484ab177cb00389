"""The unit of estimates: measured once a machine, measured again where its instruction sets are lowered."""

from __future__ import annotations

import json

from wsis.bench import calibrate
from wsis.bench.calibrate import PASSES, calibrated, known_unit, machine, measure


def test_a_measurement_is_of_work_that_was_done():
    speed = measure(seconds=0.1)
    assert speed["unit"] > 0 and speed["passes"] >= 3
    assert speed["unit"] > PASSES * 1e-6


def test_it_is_measured_once_and_again_where_instructions_are_lowered(tmp_path, monkeypatch):
    measured = iter([1.0, 3.0])
    monkeypatch.setattr(calibrate, "measure", lambda: {"unit": next(measured)})
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    assert known_unit(tmp_path) is None
    assert calibrated(tmp_path) == calibrated(tmp_path) == known_unit(tmp_path) == 1.0
    fast = machine()
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert known_unit(tmp_path) is None
    assert calibrated(tmp_path) == 3.0
    assert {*json.loads((tmp_path / "calibration.json").read_text())} == {fast, machine()}
