"""Estimates: bounded by the work and the longest chain, and no longer with more cores."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsis.flow.estimate import Task, makespan, seconds_of, spoken, tasks_of
from wsis.flow.work import targets, work
from wsis.plan import make_plan


@pytest.fixture(scope="module")
def plan():
    return make_plan("tiny")


def todo(plan, target, cores=2):
    return work(plan, targets(plan)[target], Path("nowhere"), cores)


@pytest.mark.parametrize("target", ["boxinst_1a", "headline", "all"])
def test_more_cores_take_no_longer_and_no_less_than_the_work_divided(plan, target):
    jobs = todo(plan, target)
    whole = sum(task.seconds for task in tasks_of(plan, jobs))
    times = [seconds_of(plan, jobs, cores) for cores in (1, 2, 3, 4, 8, 64)]
    assert times == sorted(times, reverse=True)
    assert times[0] == pytest.approx(whole)
    assert times[1] >= whole / 2


def test_a_target_takes_no_longer_than_one_that_shows_more(plan):
    parts = [
        seconds_of(plan, todo(plan, target), 1) for target in ("boxinst_1a", "boxinst", "headline", "all")
    ]
    assert parts == sorted(parts)


def test_what_is_finished_takes_nothing(plan):
    assert seconds_of(plan, work(plan, [], Path("nowhere")), 2) == 0


def test_a_slower_machine_takes_as_much_longer():
    slow, fast = (make_plan("tiny", seeds=(3,), unit=unit) for unit in (4.0, 2.0))
    times = [seconds_of(plan, todo(plan, "boxinst"), 2) for plan in (slow, fast)]
    assert times[0] == pytest.approx(2 * times[1])


def test_a_task_waits_for_what_it_needs():
    tasks = [Task("a", 2.0), Task("b", 3.0, ("a",)), Task("c", 4.0)]
    assert [makespan(tasks, cores) for cores in (1, 2, 3)] == [9.0, 5.0, 5.0]
    with pytest.raises(ValueError, match="wait for each other"):
        makespan([Task("a", 1.0, ("b",))], 1)


def test_words_are_as_exact_as_an_estimate():
    assert [spoken(seconds) for seconds in (3, 44, 89, 840, 9000)] == [
        "10 s",
        "40 s",
        "90 s",
        "14 min",
        "2.5 h",
    ]
