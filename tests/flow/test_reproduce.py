"""`wsis reproduce`: its configuration, what it says of failures, and signals."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from wsis.configuration import entries
from wsis.errors import WsisError
from wsis.flow.reproduce import _followed, failures, opening, reproduce
from wsis.flow.watch import Watch
from wsis.flow.work import work
from wsis.plan import make_plan

TABLES = ["boxinst/1a"]


@pytest.fixture(scope="module")
def plan():
    return make_plan("smoke", (0,))


def test_entries_are_read_as_yaml():
    config = entries(["seeds=[1,2]", "set={schedule.iterations: 4}", "data_root=coco=/a,voc=/b"], "{}")
    assert config == {
        "seeds": [1, 2],
        "set": {"schedule.iterations": 4},
        "data_root": "coco=/a,voc=/b",
    }


@pytest.mark.parametrize(
    ("names", "entries", "complaint"),
    [
        (["boxinst_99"], [], "no target boxinst_99 .*there are: boxinst_"),
        (["boxinst/99"], [], "no target boxinst/99"),
        ([], ["scal=tiny"], "unknown configuration: scal"),
        ([], ["seeds"], "seeds: expected key=value"),
        ([], ["seeds=a"], "expected whole numbers"),
    ],
)
def test_mistakes_are_told_before_anything_starts(tmp_path, names, entries, complaint):
    with pytest.raises(WsisError, match=complaint):
        reproduce(names, "smoke", 1, entries, tmp_path)
    assert not list(tmp_path.iterdir())


def test_it_begins_with_what_there_is_to_do(plan, tmp_path):
    line = opening(plan, ["boxinst_1a"], work(plan, TABLES, tmp_path), 840.0, 2)
    assert "of 1 tables" in line and line.endswith("; about 14 min on this machine (2 cores)")


def test_failed_runs_are_told_by_row_with_the_end_of_their_log(plan, tmp_path):
    run = plan.row_runs("boxinst/1a", "tau = 0.1")[0]
    of_job = tmp_path / "train.log"
    of_job.write_text("".join(f"line {i}\n" for i in range(40)) + f"{run} failed: out of paper\n")
    log = tmp_path / "workflow.log"
    log.write_text(f"[now]\nError in rule train_x:\n    jobid: 2\n    log: {of_job} (check)\n\nmore\n")
    text = "\n".join(failures(plan, work(plan, TABLES, tmp_path), log))
    assert f"the end of {of_job}" in text and "line 39" in text and "line 5\n" not in text
    assert f"failed: boxinst/1a  tau = 0.1  seed 0 ({run}): out of paper" in text
    log.write_text("WorkflowError: something\n")
    assert "WorkflowError: something" in "\n".join(failures(plan, work(plan, TABLES, tmp_path), log))


def appears(path, seconds=60):
    """Whether `path` is there within `seconds`; a folder, unlike a file, never is there half written."""
    end = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return path.exists()


def test_a_signal_reaches_every_process_of_the_workflow(plan, tmp_path):
    watch = Watch(plan, work(plan, TABLES, tmp_path), tmp_path)
    ready, note, before = tmp_path / "ready", tmp_path / "note", signal.getsignal(signal.SIGINT)
    inner = f"trap 'mkdir {note}; exit 3' TERM; mkdir {ready}; while :; do sleep 0.1; done"

    def interrupt():
        assert appears(ready)
        os.kill(os.getpid(), signal.SIGINT)

    waits = threading.Thread(target=interrupt)
    waits.start()
    status, stopped = _followed(["sh", "-c", f"({inner}) & wait"], tmp_path / "log", watch, time.monotonic())
    waits.join()
    assert stopped and status == 128 + signal.SIGTERM
    assert appears(note)
    assert signal.getsignal(signal.SIGINT) is before
