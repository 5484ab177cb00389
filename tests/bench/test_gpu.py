"""`wsis bench gpu`: parts fail alone and in time, and the dry run finds what is broken."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter

import pytest
import torch

from wsis.bench.gpu import check as checks
from wsis.bench.gpu import layers, parts, training, waits
from wsis.bench.gpu.check import check, run
from wsis.bench.gpu.page import page
from wsis.bench.gpu.parts import REAL, SMOKE, Part, Setting, all_parts
from wsis.bench.gpu.real import smallest
from wsis.bench.gpu.training import Case
from wsis.data.loading import Shard
from wsis.errors import WsisError
from wsis.plan import make_plan

DRY = Setting("cpu")
ROW = '{"name": "a", "number": 0.25, "nested": {"b": 1}, "faults": %s}'


def part(code: str, faults: str = "[]", limit: float = 20) -> dict:
    """The outcome of a part that writes a row and then does what `code` says."""
    program = f"import os, sys, time\nopen(sys.argv[-1], 'w').write({ROW % faults!r} + chr(10))\n{code}"
    return run([sys.executable, "-S", "-c", program], limit)


def test_all_parts_fit_into_ten_minutes_and_every_method_has_its_own():
    assert sum(each.limit for each in all_parts().values()) <= parts.TOTAL == 600
    trained = {run.recipe.method for run in make_plan("paper", (0,)).runs.values() if run.iterations}
    assert {f"steps {name}" for name in trained} < all_parts().keys()


def test_each_way_a_part_ends_is_told_and_keeps_its_rows():
    good = part("")
    assert (good["outcome"], good["message"], len(good["rows"])) == ("passed", "", 1)
    assert part("", '["off by 1"]')["message"] == "a: off by 1"
    killed = part("print('driver gone', flush=True); os.kill(os.getpid(), 9)")
    assert killed["outcome"] == "failed" and "-9" in killed["message"] and "driver gone" in killed["message"]
    assert len(killed["rows"]) == 1


def test_a_part_that_hangs_is_ended_with_its_children(tmp_path):
    alive = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(alive)!r}, 'a').write('x'); time.sleep(0.05)"
    began = time.monotonic()
    late = part(
        f"import subprocess; subprocess.Popen([sys.executable, '-S', '-c', {child!r}]); time.sleep(60)",
        limit=1,
    )
    assert late["outcome"] == "stopped after 1 s" and len(late["rows"]) == 1
    assert time.monotonic() - began < 15
    time.sleep(0.2)
    size = alive.stat().st_size if alive.exists() else 0
    time.sleep(0.3)
    assert (alive.stat().st_size if alive.exists() else 0) == size


def test_a_failed_part_stops_no_other_and_the_page_says_so(monkeypatch, tmp_path, capsys):
    made = {"good": Part("layers:optimiser", 60, "One"), "bad": Part("layers:absent", 60, "Two")}
    outcomes = {"bad": part("raise SystemExit(3)"), "good": part("")}
    monkeypatch.setattr(checks, "all_parts", lambda: made)
    monkeypatch.setattr(checks, "run", lambda command, *_: outcomes[command[-2]])
    assert not check(DRY, [], tmp_path)
    (text,) = (path.read_text() for path in tmp_path.glob("*.md"))
    assert "| good | passed |" in text and "| bad | failed |" in text and "dry run" in text
    assert "| a | 0.25 |" in text and "nested" not in text
    assert capsys.readouterr().out.splitlines()[0].startswith("good: passed")
    assert check(DRY, ["good"], tmp_path)
    with pytest.raises(WsisError, match="no part 'goo'"):
        check(DRY, ["goo"], tmp_path)


def test_every_method_has_a_batch_and_a_network_at_a_card_s_size(tmp_path):
    for name in parts.methods():
        case = Case(name, REAL, tmp_path)
        method = case.network()
        (batch,) = next(case.stream(method, Shard()))
        assert len(batch.images) == REAL.images and max(batch.images.shape) >= 160
        assert int(method.iteration) > 100 and case.recipe.schedule.end == REAL.steps


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_is_a_line(tmp_path):
    with pytest.raises(WsisError, match="torch sees none"):
        check(Setting("cuda"), [], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_optimiser_that_takes_a_bad_gradient_is_a_fault(monkeypatch):
    assert [row["faults"] for row in layers.optimiser(DRY)] == [[]] * 3
    monkeypatch.setattr(layers, "update", lambda optimizer, norm, scaler: optimizer.step())
    assert all("inf moves the weights" in row["faults"][0] for row in layers.optimiser(DRY))


def test_losses_that_are_not_the_processor_s_are_a_fault(monkeypatch):
    rows = list(training.steps(DRY, parts.methods()[0]))
    assert [row["name"].split(", ")[1] for row in rows] == ["32", "bf16", "16"]
    assert not rows[0]["faults"] and rows[0]["apart"] < 1e-6 and rows[0]["step_ms"] > 0
    first = Case.first_losses
    monkeypatch.setattr(Case, "first_losses", lambda self: {k: v * 1.01 for k, v in first(self).items()})
    faults = next(training.steps(DRY, parts.methods()[0]))["faults"]
    assert len(faults) == 1 and "over 1e-03" in faults[0]


def test_more_waits_than_predicted_are_a_fault(monkeypatch):
    name, recipe = next(iter(waits.recipes(make_plan(SMOKE.scale, (0,)), 2).items()))
    monkeypatch.setattr(waits, "recipes", lambda *_: {name: recipe})
    monkeypatch.setattr(waits, "_profiled", lambda *_: Counter({"cudaStreamSynchronize": 500}))
    (row,) = waits.waits(DRY)
    assert row["waits"] == 500 and "waits 500 times" in row["faults"][0]


def test_real_images_are_those_of_the_smallest_table_that_has_them_all():
    plan = make_plan("mini", (0,))
    for roots in ({"coco"}, {"voc"}, {"coco", "voc", "salient"}):
        recipes = [plan.runs[run].recipe for run in plan.with_needed(plan.wanted([smallest(plan, roots)]))]
        assert {recipe.data.dataset for recipe in recipes} <= roots
    with pytest.raises(parts.Skipped, match="DATA="):
        smallest(plan, {"salient"})


def test_the_page_escapes_what_would_break_a_table():
    result = {"device": "D", "dry_run": False, "date": "x", "devices": 1, "seconds": 1.0, "environment": {}}
    outcome = {"about": "A", "outcome": "failed", "seconds": 1.0, "message": "a | b\nc", "rows": []}
    assert "a \\| b c" in page(json.loads(json.dumps(result | {"parts": {"x": outcome}})))
