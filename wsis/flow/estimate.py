"""How long a target takes on N cores: its jobs, costs in seconds, scheduled one by one."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass

from wsis.flow.work import Work
from wsis.plan import Plan

LIGHT = 0.25  # cost of a process that evaluates, which needs no torch, as a share of one that trains


@dataclass(frozen=True)
class Task:
    """Something that keeps one core busy for `seconds`, after the tasks that it `needs`."""

    id: str
    seconds: float
    needs: tuple[str, ...] = ()


def core_count() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def seconds_of(plan: Plan, work: Work, cores: int) -> float:
    """Wall time in seconds of the jobs of `work` on up to `cores` cores; for generated scales."""
    tasks = tasks_of(plan, work)
    return min(makespan(tasks, count) for count in range(1, cores + 1)) if tasks else 0.0


def tasks_of(plan: Plan, work: Work) -> list[Task]:
    """Data roots, trainings, evaluations and reports, in the order of their priority."""
    cost, unit = plan.scale.cost, plan.unit_seconds
    process, root, report = ((part or 0.0) * unit for part in (cost.process, cost.root, cost.report))
    trains = {run: f"train {job.id}" for job in work.trainings for run in job.runs}
    tasks: dict[str, Task] = {}
    for job in work.trainings:
        data = (f"draw {job.data}",) if job.data else ()
        for name in data:
            tasks.setdefault(name, Task(name, root))
        seconds = process + sum(plan.runs[run].device_hours for run in job.runs) * 3600
        needs = {trains[need] for need in job.needs if need in trains}
        tasks[f"train {job.id}"] = Task(f"train {job.id}", seconds, (*data, *sorted(needs)))
    for job in work.evaluations:
        needs = {trains[run] for run in job.runs if run in trains}
        tasks[f"evaluate {job.id}"] = Task(f"evaluate {job.id}", LIGHT * process, tuple(sorted(needs)))
    if tasks:
        for table in work.tables:
            shown = {*plan.wanted([table])}
            needs = [f"evaluate {job.id}" for job in work.evaluations if shown & {*job.runs}]
            if needs:
                tasks[f"report {table}"] = Task(f"report {table}", report, tuple(needs))
    return list(tasks.values())


def makespan(tasks: Sequence[Task], cores: int) -> float:
    """Seconds until all are done when a free core takes the first task that is ready.

    The tasks are in the order of their priority; what a task needs is one of them.
    """
    waiting, done = list(tasks), set[str]()
    running: list[tuple[float, str]] = []
    now = 0.0
    while waiting or running:
        ready = [task for task in waiting if done.issuperset(task.needs)]
        for task in ready[: cores - len(running)]:
            heapq.heappush(running, (now + task.seconds, task.id))
            waiting.remove(task)
        if not running:
            raise ValueError(f"tasks that wait for each other: {', '.join(task.id for task in waiting)}")
        now, id = heapq.heappop(running)
        done.add(id)
    return now


def spoken(seconds: float) -> str:
    """'40 s', '14 min', '2.5 h': as exact as an estimate is."""
    if seconds < 90:
        return f"{max(10, round(seconds / 10) * 10)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
