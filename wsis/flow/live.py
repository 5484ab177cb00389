"""What is being trained right now, how far it is, and until when the workflow takes."""

from __future__ import annotations

import time
from pathlib import Path

from wsis.errors import WsisError
from wsis.flow.listing import last_step
from wsis.flow.watch import shown_runs
from wsis.flow.work import JOBS, Work, read_work
from wsis.plan import Plan
from wsis.report.model import Live
from wsis.results.writer import LOCK, held


def live(plan: Plan, results: Path) -> Live | None:
    """The plan's runs that processes train in results/<scale>; None where there are none."""
    folder, now = results / plan.scale.name, time.time()
    shares = {
        run: _share(plan, run, folder / "runs" / run) for run in plan.runs if _trains(folder / "runs" / run)
    }
    if not shares:
        return None
    try:
        work = read_work(folder)
    except (WsisError, ValueError):  # none, or of another version
        work = Work((), (), (), ())
    shown = shown_runs(plan, tuple(key for key in work.tables if key in plan.tables) or tuple(plan.tables))
    lines = []
    for run, share in shares.items():
        ends = plan.runs[run].recipe.schedule.end
        where = shown.get(run, f"a training that rows start from, seed {plan.runs[run].seed}")
        lines.append(f"{where}: step {round(share * ends)} of {ends}" if ends else str(where))
    told = Live(_clock(now, now, day=True), lines)
    if shares.keys() <= {run for job in work.trainings for run in job.runs}:
        began = (folder / JOBS).stat().st_mtime
        due = {run for job in work.evaluations for run in job.runs} & shown.keys()
        done = (
            len(shown) - len(due) + sum(_since(folder / "runs" / run / "metrics.json", began) for run in due)
        )
        told.rows = f"{done} of {len(shown)}"
        left = _seconds_left(plan, work, folder / "runs", shares, now - began)
        told.until = "" if left is None else _clock(now + left, now)
    return told


def _trains(run: Path) -> bool:
    """Whether a process trains the run in a folder."""
    return (run / LOCK).exists() and not (run / "train.json").exists() and held(run)


def _share(plan: Plan, run: str, folder: Path) -> float:
    """How much of its schedule is done, from 0 to 1."""
    step = last_step(folder / "log.jsonl")
    return 0.0 if step is None else min(1.0, (step + 1) / max(1, plan.runs[run].recipe.schedule.end))


def _seconds_left(plan: Plan, work: Work, runs: Path, shares: dict[str, float], spent: float) -> float | None:
    """What is left takes as long as what was done since the start; None before anything was."""
    ids = [run for job in work.trainings for run in job.runs if run in plan.runs]
    since = time.time() - spent
    done = {
        run: 1.0 for run in ids if run not in shares and _since(runs / run / "train.json", since)
    } | shares
    hours = sum(share * plan.runs[run].device_hours for run, share in done.items())
    whole = sum(plan.runs[run].device_hours for run in ids)
    return spent * (whole - hours) / hours if hours else None


def _since(path: Path, began: float) -> bool:
    return path.exists() and path.stat().st_mtime >= began


def _clock(when: float, now: float, day: bool = False) -> str:
    """'18:05', with the day where it is another one than now, or where it is asked for."""
    then, today = time.localtime(when), time.localtime(now)
    days = f"{then.tm_mday} {time.strftime('%B', then)}, " if day or then[:3] != today[:3] else ""
    return days + time.strftime("%H:%M", then)
