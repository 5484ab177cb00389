"""An undisturbed workflow: what it leaves, what there was as each of its jobs began, and when it did what."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path

from tests.faults.chains import SCALE, Command, plan
from tests.faults.live.checkout import Call, Checkout, Operation, made, spent
from tests.faults.process import Ended
from tests.faults.stages import stages_of

WORKFLOW = "workflow"  # Snakemake's own operations
JOBS = {"data": "data", "train": "first training", "evaluate": "evaluation", "measure": "measures"}
JOBS |= {"pictures": "pictures", "report": "rendering"}


@dataclass(frozen=True)
class Moment:
    """When a workflow is hit that starts from a state: as operation `number` begins, or a while later.

    state   number of the state
    job     the command that must have begun; None: whatever Snakemake does first
    own     whether the operations of that job count, or Snakemake's since then
    gap     seconds to the next operation
    """

    state: int
    job: str | None
    own: bool
    number: int
    gap: float

    def reached(self, operations: Sequence[Operation]) -> Operation | None:
        """The operation itself, once it was told."""
        begins = (number for number, each in enumerate(operations) if self.job in (None, each.program))
        if (first := next(begins, None)) is None:
            return None
        pid = operations[first].pid
        count = 0
        for each in operations[first:]:
            if each.pid == pid if self.own else each.program == "snakemake":
                if count == self.number:
                    return each
                count += 1
        return None


@dataclass(frozen=True)
class Reference:
    """moments and files: of each stage; of a file, also the first state that may have it."""

    checkout: Checkout
    states: list[Path]
    moments: dict[str, list[Moment]]
    files: dict[str, dict[str, int]]
    cpu: float


def undisturbed(paper: str, base: Path) -> Reference:
    """Run the workflow of a paper in base/work, and keep its states beside that."""
    checkout, before = made(base / "work", paper), spent()
    states = [base / "states" / "0"]
    states[0].mkdir(parents=True)
    checkout.put(states[0])
    call, seen = checkout.start(), 0
    jobs = set[int]()
    goes_on = True
    while goes_on:
        goes_on = call.goes_on()
        for each in call.operations[seen:]:
            if each.program in JOBS and each.pid not in jobs:
                jobs.add(each.pid)
                states.append(base / "states" / str(len(states)))
                with call.stopped():
                    checkout.keep(states[-1])
        seen = len(call.operations)
    if call.ended() != 0:
        raise SystemExit(f"an undisturbed workflow failed:\n{call.log.read_text()[-6000:]}")
    states.append(base / "states" / str(len(states)))
    checkout.keep(states[-1])
    return Reference(checkout, states, *_told(call), spent() - before)


def _told(call: Call) -> tuple[dict[str, list[Moment]], dict[str, dict[str, int]]]:
    """The moments and the files of each stage."""
    moments, files = defaultdict[str, list[Moment]](list), defaultdict[str, dict[str, int]](dict)
    theirs = defaultdict[int, list[Operation]](list)
    for each in call.operations:
        theirs[each.pid].append(each)
    stages = {pid: iter(list(stages_in(operations))) for pid, operations in theirs.items()}
    state, job, counts, last = 0, None, defaultdict[int | str, int](int), call.operations[-1].time
    following = dict[Operation, float]()
    for operations in theirs.values():
        for each, then in zip(operations, [*operations[1:], None], strict=True):
            following[each] = (then.time if then else min(each.time + 0.05, last)) - each.time
    for each in call.operations:
        if each.program in JOBS and each.event == "begin":
            state, job, counts = state + 1, each.program, defaultdict(int)
        own = each.program in JOBS
        if not own and each.program != "snakemake":
            continue
        stage = next(stages[each.pid])
        moments[stage].append(Moment(state, job, own, counts[own], max(following[each], 0.0)))
        counts[own] += 1
        if each.event in ("os.rename", "open", "os.utime") and not each.path.endswith(".tmp"):
            files[stage].setdefault(each.path, state + 1)
    return dict(moments), dict(files)


def stages_in(operations: Sequence[Operation]) -> Iterator[str]:
    """The stage of each operation of a process."""
    program = operations[0].program
    if program == "train":
        run = ""
        named = []
        for each in operations:
            if found := re.match(rf"results/{SCALE}/runs/([^/]+)", each.path):
                run = found[1]
            named.append((run, (each.time, each.event, each.path)))
        for run, its in groupby(named, key=lambda pair: pair[0]):
            told = [operation for _, operation in its]
            stage = "first training" if not run or run in parents() else "last training"
            yield from stages_of(Command(stage, (), run), Ended(0, 0, "", 0.0, told))
        return
    stage = JOBS.get(program, WORKFLOW)
    collects = program == "report" and any(each.path.endswith("metrics.csv") for each in operations)
    for each in operations:
        yield "collection" if collects else stage
        collects = collects and not (each.event == "os.rename" and each.path.endswith("metrics.csv"))


@cache
def parents() -> set[str]:
    """The runs that others start from or learn from."""
    return {need for run in plan().runs.values() for need in run.needs}
