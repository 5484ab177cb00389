"""What hits a workflow, and whether the same call, given again, makes what it would have made."""

from __future__ import annotations

import os
import shutil
import signal
import time
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.cases import ROUNDS, Outcome, spared
from tests.faults.chains import SCALE
from tests.faults.damage import CUT, FLIPPED, REMOVED, SWAPPED, damage, others
from tests.faults.live.checkout import Call, Checkout, spent
from tests.faults.live.reference import Moment, Reference
from tests.faults.same import differences, half_written
from wsis.results.verify import verify_results

TREE, ALONE, JOB = "SIGKILL of the tree", "SIGKILL of Snakemake", "SIGKILL of the job"
SIGNALS = (TREE, ALONE, JOB, "SIGTERM", "SIGINT", "SIGINT of the tree")
DAMAGE = (CUT, FLIPPED, SWAPPED, REMOVED)
KINDS = (*SIGNALS, *DAMAGE)


@dataclass
class Case:
    """A fault on its way.

    lines    what isn't as it should be
    before   what lay beside results and reports as it began
    """

    reference: Reference
    draw: Random
    lines: list[str] = field(default_factory=list)
    before: dict[str, int] = field(default_factory=dict)

    @property
    def checkout(self) -> Checkout:
        return self.reference.checkout

    def begin(self, state: int) -> None:
        """Let the checkout be as it was in a state of the undisturbed workflow."""
        self.checkout.put(self.reference.states[state])
        self.before = self.checkout.beside()

    def hit(self, kind: str, stage: str) -> tuple[Call | None, str]:
        """Start the workflow from before a stage and hit it there; the call, and where that was."""
        for _ in range(5):
            moment = self.draw.choice(self.reference.moments[stage])
            self.begin(moment.state)
            call = self.checkout.start()
            if text := self._struck(call, kind, moment):
                return call, text
            call.kill()
        return None, "always too late"

    def _struck(self, call: Call, kind: str, moment: Moment) -> str | None:
        """Send a signal at a moment; where that was, None where it was over before."""
        goes_on, at = True, None
        while goes_on and at is None:
            goes_on = call.goes_on()
            at = moment.reached(call.operations)
        if at is None:
            return None
        time.sleep(min(moment.gap, 4.0) * self.draw.random())
        leader = call.process.pid
        try:
            if kind == JOB:
                os.kill(at.pid, signal.SIGKILL)
            elif kind in (TREE, "SIGINT of the tree"):
                os.killpg(leader, signal.SIGKILL if kind == TREE else signal.SIGINT)
            else:
                sent = signal.SIGKILL if kind == ALONE else getattr(signal, kind)
                os.kill(leader, sent)
        except ProcessLookupError:
            return None
        if kind in (TREE, ALONE):
            call.process.wait()
        elif call.ended() is None:
            self.lines.append(f"Snakemake hangs after {kind}")
        elif call.process.returncode == 0 and kind == JOB:
            return None
        self.shown(call.log.read_text(errors="replace"))
        return f"from state {moment.state}, after {at.event} {at.path} of {at.program}"

    def unlocked(self) -> None:
        code, output = self.checkout.run(self.checkout.words("--unlock"))
        if code:
            self.lines.append(f"--unlock ended with {code}: {output[-300:]}")

    def again(self) -> int:
        """Give the same call, and do what `wsis verify` says, until nothing is wrong; how many calls."""
        for number in range(1, ROUNDS + 1):
            call = self.checkout.start()
            code = call.ended()
            self.shown(call.log.read_text(errors="replace"))
            with chdir(self.checkout.folder):
                findings = verify_results(Path("results"), SCALE)
            if code == 0 and not findings:
                return number
            if code and not findings:
                self.lines.append(f"the same call ended with {code}, and `wsis verify` finds nothing")
            for command in dict.fromkeys(each.command for each in findings if each.command):
                self.shown(self.checkout.run(command)[1])
        said = "; ".join(map(str, findings)) or call.log.read_text(errors="replace")[-2000:]
        self.lines.append(f"not whole after {ROUNDS} calls, exit {code}: {said}")
        return ROUNDS

    def shown(self, output: str) -> None:
        """Look for a traceback in what a user was shown."""
        if "Traceback" in output:
            self.lines.append(f"a traceback: {output[output.index('Traceback') :][:1500]}")

    def judge(self) -> None:
        """Add all that is wrong with what there is now."""
        for path in sorted((self.checkout.folder / "results").rglob("logs/**/*")):
            if path.is_file():
                self.shown(path.read_text(errors="replace"))
        after, left = self.checkout.beside(), self.checkout.folder.with_name("left")
        changed = sorted({name for name, _ in self.before.items() ^ after.items()})
        self.lines += [f"outside of results and reports: {name}" for name in changed]
        shutil.rmtree(left, ignore_errors=True)
        self.checkout.keep(left)
        self.lines += differences(left, self.reference.states[-1])
        self.lines += [f"half written: {name}" for name in half_written(left)]


def struck(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    """A workflow is hit at a random moment of a stage; then the same call is given again."""
    case, cpu = Case(reference, draw), spent()
    call, what = case.hit(kind, stage)
    if call is None:
        return Outcome(what, ["the workflow ended before it was hit"], spent() - cpu)
    if kind in (TREE, ALONE):
        case.unlocked()
    calls = case.again()
    if not call.alone():
        case.lines.append("something that the first call started doesn't end")
    case.judge()
    return Outcome(f"{what}; {calls} call(s) more", case.lines, spent() - cpu)


def damaged(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    """A file that a stage wrote is damaged after the workflow, or after it was killed in that stage."""
    case, cpu = Case(reference, draw), spent()
    folder = case.checkout.folder
    if draw.random() < 0.4:
        call, what = case.hit(TREE, stage)
        if call is None:
            return Outcome(what, ["the workflow ended before it was hit"], spent() - cpu)
        case.unlocked()
        what = f"killed {what}; "
    else:
        last, first = len(reference.states) - 1, min(reference.files[stage].values())
        state = draw.choice([last, draw.randint(first, last)])
        case.begin(state)
        what = f"in state {state}: "
    paths = files(reference, folder, stage, kind)
    if draw.random() < 0.8:  # half of all files are checksums
        paths = [path for path in paths if path.suffix != ".sha256"] or paths
    path = draw.choice(paths)
    what += f"{path.relative_to(folder)}"
    if kind == SWAPPED:
        what += f" and {damage(path, kind, draw, folder)}"
    else:
        damage(path, kind, draw)
    calls = case.again()
    case.judge()
    lines = [line for line in case.lines if not spared(line)]
    return Outcome(f"{what}; {calls} call(s) more", lines, spent() - cpu)


def files(reference: Reference, folder: Path, stage: str, kind: str) -> list[Path]:
    """Files that a stage wrote, are there and can be damaged so; where none is, those of any stage."""
    for names in (reference.files[stage], {name for each in reference.files.values() for name in each}):
        there = [folder / name for name in names if not name.startswith("reports/")]
        every = {path for each in there for path in (each, *each.rglob("*")) if path.is_file()}
        if found := sorted(path for path in every if suits(kind, path, folder)):
            return found
    raise AssertionError(f"no file can be damaged: {kind}, {stage}")


def suits(kind: str, path: Path, folder: Path) -> bool:
    """Whether a file can be damaged in a way: all can be removed."""
    if kind == SWAPPED:
        return bool(others(path, folder))
    return kind == REMOVED or path.stat().st_size > 0


def suffered(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    return (damaged if kind in DAMAGE else struck)(reference, kind, stage, draw)
