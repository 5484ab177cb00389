"""One live workflow is hit in the suite; `make faults` hits many."""

import os
import signal
from collections import Counter
from random import Random

import pytest

from tests.faults.damage import FLIPPED, REMOVED, SWAPPED, damage, others
from tests.faults.live.__main__ import PROGRAM, has
from tests.faults.live.cases import Case
from tests.faults.live.checkout import Operation
from tests.faults.live.reference import Moment, stages_in, undisturbed
from wsis.checksums import fault, sealed


def test_every_kind_stage_and_paper_has_its_turn():
    for seed in range(3):
        drawn = PROGRAM.drawn(seed, 40)
        assert all(has(*fault) for fault in drawn) and drawn == PROGRAM.drawn(seed, 40)
        for part, names in enumerate(PROGRAM.parts):
            counts = Counter(fault[part] for fault in drawn)
            assert {*counts} == {*names} and max(counts.values()) - min(counts.values()) <= 3
    assert {fault[0] for fault in PROGRAM.drawn(1, 5, ["sim"], *PROGRAM.parts[1:])} == {"sim"}


def operations(*told):
    return [Operation(float(number), *each) for number, each in enumerate(told)]


def test_a_moment_is_counted_among_a_job_s_operations_or_snakemake_s_since_it_began():
    told = operations(
        (1, "snakemake", "begin", ""),
        (1, "snakemake", "open", ".snakemake/a"),
        (2, "train", "begin", ""),
        (1, "snakemake", "open", ".snakemake/b"),
        (2, "train", "open", "results/smoke/runs/a/log.jsonl"),
        (3, "train", "begin", ""),
        (3, "train", "open", "results/smoke/runs/a/log.jsonl"),
    )
    assert Moment(0, None, False, 1, 0.0).reached(told) == told[1]
    assert Moment(1, "train", True, 1, 0.0).reached(told) == told[4]
    assert Moment(1, "train", False, 0, 0.0).reached(told) == told[3]
    assert Moment(1, "train", True, 2, 0.0).reached(told) is None
    assert Moment(1, "report", True, 0, 0.0).reached(told) is None


def test_a_report_collects_before_it_renders_and_a_job_predicts_after_it_trained():
    csv, page = "results/smoke/metrics.csv", "reports/smoke/index.html"
    told = operations(
        (1, "report", "begin", ""), (1, "report", "os.rename", csv), (1, "report", "open", page)
    )
    assert [*stages_in(told)] == ["collection", "collection", "rendering"]
    run = "results/smoke/runs/a-0123456789"
    names = ("begin", "log.jsonl", "model.safetensors", "predictions.json", "train.json")
    told = operations(*((2, "train", "os.rename", f"{run}/{name}") for name in names))
    assert [*stages_in(told)] == ["last training"] * 3 + ["prediction", "record"]


def test_files_are_swapped_removed_and_flipped(tmp_path):
    paths = [tmp_path / run / "a.json" for run in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        with sealed(path) as file:
            file.write(path.parent.name.encode())
    assert others(paths[0], tmp_path) == [paths[1]]
    draw = Random(1)
    damage(paths[0], SWAPPED, draw, tmp_path)
    assert [path.read_text() for path in paths] == ["two", "one"]
    status = paths[1].stat()
    damage(paths[1], FLIPPED, draw)
    assert paths[1].read_text() != "one" and paths[1].stat().st_mtime_ns == status.st_mtime_ns
    damage(paths[0], REMOVED, draw)
    assert not paths[0].exists() and fault(paths[1])


@pytest.mark.slow
def test_a_second_trainer_waits_for_the_one_that_outlived_snakemake(tmp_path):
    """The first stands still until the second waits for it; results are those of an undisturbed workflow."""
    case = Case(undisturbed("boxinst", tmp_path), Random(os.environ.get("SEED", "1")))
    moment = case.draw.choice(case.reference.moments["last training"])
    case.begin(moment.state)
    call = case.checkout.start()
    while call.goes_on() and not (at := moment.reached(call.operations)):
        pass
    os.kill(at.pid, signal.SIGSTOP)
    call.process.kill()
    call.process.wait()
    case.unlocked()
    logs = case.checkout.folder / "results" / "smoke" / "logs" / "train"
    second = case.checkout.start()
    try:
        while second.goes_on():
            if any(f"waits for process {at.pid} " in path.read_text() for path in logs.glob("*.log.*")):
                break
        else:
            pytest.fail(f"nobody waits: {second.log.read_text()[-3000:]}")
    finally:
        os.kill(at.pid, signal.SIGCONT)
    assert second.ended() == 0, second.log.read_text()[-3000:]
    assert call.alone()
    case.judge()
    assert not case.lines
