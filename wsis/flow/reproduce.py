"""`wsis reproduce`: the workflow with a line for every finished row instead of Snakemake's own messages.

Those go to results/<scale>/logs/workflow.log. Snakemake has a process group of its own: a signal is passed on
to all of it, so that trainers write their checkpoints and nothing stays locked.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsis.bench.calibrate import known_unit
from wsis.carried import carried
from wsis.configuration import entries, known, overrides, seeds
from wsis.declare.measured import measured_costs
from wsis.declare.rate import doubts
from wsis.disk import ask_for_room, writing
from wsis.errors import WsisError, nearest_first
from wsis.flow.estimate import seconds_of, spoken
from wsis.flow.watch import Watch, shown_runs
from wsis.flow.work import HEADLINE, Work, tables_of, targets, work
from wsis.plan import Plan, make_plan
from wsis.results.naming import table_of

POLL = 1.0  # seconds between two looks at the results
QUIET = 60.0  # seconds without a finished row after which a line says how far it is
TAIL = 12  # lines of a failed job's log
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def reproduce(names: Sequence[str], scale: str, cores: int, words: Sequence[str], results: Path) -> int:
    """Run the workflow's targets `names` to their end and return Snakemake's exit code.

    words: of the workflow's configuration, 'key=value'. Raises WsisError for what the plan refuses.
    """
    began, names = time.monotonic(), list(names) or [HEADLINE]
    config = {"scale": scale} | entries(words, "{}: expected key=value of the workflow's configuration")
    known(config)
    scale = config["scale"]
    chosen, over = seeds(config), overrides(config)
    unit = known_unit(results)
    measured = measured_costs(results, scale, config.get("costs"))
    plan = make_plan(scale, chosen, over, unit=unit, measured=measured)
    names = [name if table_of(name, plan.tables) is None else name.replace("/", "_") for name in names]
    papers = {table.paper for table in plan.tables.values()}
    if unknown := [
        name for name in names if name not in targets(plan) and name.partition("/")[0] in {name, *papers}
    ]:  # all others with a slash are files
        there = nearest_first(unknown[0], targets(plan))
        raise WsisError(f"no target {', '.join(unknown)} (there are: {there})")
    todo = work(plan, tables_of(plan, names), results, cores)
    if todo.trainings and plan.scale.cost.step is not None and unit is None:
        plan = make_plan(scale, chosen, over, unit=_calibrated(results))
    call = [f"scale={scale}", *(word for word in words if not word.startswith("scale="))]
    seconds = None if plan.scale.cost.step is None else seconds_of(plan, todo, cores)
    print(opening(plan, names, todo, seconds, cores), flush=True)
    for line in warnings_of(plan, todo):
        print(f"warning: {line}", flush=True)
    ids = [run for job in todo.trainings for run in job.runs]
    ask_for_room({results / scale / "runs" / run: plan.runs[run].disk_gb for run in ids})
    log = results / scale / "logs" / "workflow.log"
    with writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
    watch = Watch(plan, todo, results, seconds)
    status, stopped = _followed(_snakemake(cores, call, names), log, watch, began)
    if status and not stopped:
        for line in failures(plan, todo, log):
            print(line)
        print(f"{watch.done} of {len(watch.shown)} rows are there; the same command tries the others again")
        command = _snakemake(1, call, ["report"])  # of what there is
        with log.open("a", encoding="utf-8") as file:
            subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False)
    if stopped:
        print("stopped; the same command goes on from here")
    elif not status and not todo.evaluations:
        print("all results were there already")
    minutes, rest = divmod(round(time.monotonic() - began), 60)
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    page = Path("reports").resolve() / scale / "index.html"
    print(f"\nreport: {page if page.exists() else 'none yet'}")
    print(f"took:   {minutes} min {rest} s on {cores} cores, {spent.ru_utime + spent.ru_stime:.0f} CPU s")
    return status


def opening(plan: Plan, names: Sequence[str], todo: Work, seconds: float | None, cores: int) -> str:
    """What there is to do, and how long it takes."""
    rows = len(shown_runs(plan, todo.tables))
    due = sum(len(job.runs) for job in todo.trainings)
    text = f"{', '.join(names)} at scale {plan.scale.name}: "
    text += f"{rows} rows of {len(todo.tables)} tables, {due} to train"
    return text if seconds is None else f"{text}; about {spoken(seconds)} on this machine ({cores} cores)"


def warnings_of(plan: Plan, todo: Work) -> list[str]:
    """What is doubtful about the schedules that the user's settings make, each with the runs that have it."""
    having: dict[str, list[str]] = {}
    for run in (run for job in todo.trainings for run in job.runs) if plan.overrides else ():
        for doubt in doubts(plan.runs[run].recipe):
            having.setdefault(doubt, []).append(run)
    return [
        f"{doubt} ({runs[0]}{f' and {len(runs) - 1} more' if runs[1:] else ''})"
        for doubt, runs in having.items()
    ]


def failures(plan: Plan, todo: Work, log: Path) -> Iterator[str]:
    """What went wrong: the runs that failed, and the end of their job's log, or of the workflow's."""
    text = log.read_text(encoding="utf-8", errors="replace")
    shown, told = shown_runs(plan, todo.tables), False
    for rule, block in re.findall(r"^Error in rule (\S+):\n((?:    .*\n)+)", text, re.MULTILINE):
        named = re.search(r"^    log: (\S+)", block, re.MULTILINE)
        path = Path(named[1]) if named else log
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
        yield f"\nfailed: {rule}; the end of {path}:"
        yield from (f"  {line}" for line in lines[-TAIL:])
        for line in lines:
            if (failed := re.match(r"(\S+-[0-9a-f]{10}) failed: (.*)", line)) and failed[1] in plan.runs:
                yield f"failed: {shown.get(failed[1], 'a warm-up')} ({failed[1]}): {failed[2]}"
        told = True
    if not told:
        yield f"\nfailed; the end of {log}:"
        yield from (f"  {line}" for line in text.splitlines()[-TAIL:])


def _snakemake(cores: int, config: Sequence[str], names: Sequence[str]) -> list[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(carried("workflow") / "Snakefile")]
    return [*command, "--cores", str(cores), "--config", *config, "--", *names]


def _calibrated(results: Path) -> float | None:
    """The speed of this machine, measured by a process that imports torch; None where that fails."""
    command = [sys.executable, "-m", "wsis", "bench", "calibrate", "--results", str(results)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    return known_unit(results)


def _followed(command: list[str], log: Path, watch: Watch, began: float) -> tuple[int, bool]:
    """Run `command` and print the news of `watch`; returns its exit code, and whether a signal stopped it."""
    environment = {"OMP_NUM_THREADS": "1"} | dict(os.environ)
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        with _passed_on(process) as received, _lines() as (say, status):
            told = time.monotonic()
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(POLL)
                now = time.monotonic()
                for line in watch.news(now - began):
                    say(line)
                    told = now
                if process.returncode is not None:
                    break
                status(watch.progress(now - began))
                if now - told > QUIET:
                    say(watch.progress(now - began))
                    told = now
    code = process.returncode
    return (128 - code if code < 0 else code), bool(received)


@contextmanager
def _passed_on(process: subprocess.Popen) -> Iterator[list[int]]:
    """While entered, a signal reaches all of the workflow's processes as SIGTERM; yields those received."""
    received: list[int] = []

    def forward(number: int, frame: Any) -> None:
        received.append(number)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)

    former = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield received
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def _lines() -> Iterator[tuple[Callable[[str], None], Callable[[str], None]]]:
    """Two functions: one prints a line, the other shows a state that changes, on a terminal only."""
    if not sys.stdout.isatty():
        yield lambda line: print(line, flush=True), lambda text: None
        return
    from rich.console import Console

    console = Console(highlight=False)
    with console.status("starting") as live:
        yield lambda line: console.print(line, markup=False), live.update
