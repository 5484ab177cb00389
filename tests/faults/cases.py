"""What hits a chain, and whether the same commands, given again, make what they would have made."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.chains import SCALE
from tests.faults.damage import CUT, FLIPPED, damage
from tests.faults.outside import listing, written
from tests.faults.process import Ended, Strike, call, end_session
from tests.faults.reference import Reference
from tests.faults.same import differences, half_written, names
from tests.faults.stages import stages_of

SIGNALS = {
    "SIGKILL of the tree": (signal.SIGKILL, True),
    "SIGKILL of the process": (signal.SIGKILL, False),
    "SIGTERM": (signal.SIGTERM, False),
}
CRASH = "crash before an operation"
KINDS = (*SIGNALS, CRASH, FLIPPED, CUT)
# What nothing reads again, or what is made anew whenever it is wanted.
UNREAD = ("reports/", f"results/{SCALE}/rendered.json")
UNREAD_NAMES = ("README.md", ".writer", ".report.lock")
# Of finished work: `wsis verify` has them removed where they are damaged. Nothing makes them again, or only a
# report that shows more.
SPARED = ("log.jsonl", "environment.json", "trained.json", "origin.json", "finished.json", "rendered.json")
ROUNDS = 3  # of commands, and what `wsis verify` says


@dataclass
class Outcome:
    """what: where it hit. wrong: what isn't as it should be. cpu: seconds of all its processes."""

    what: str
    wrong: list[str]
    cpu: float


def strikes(reference: Reference, stage: str) -> list[tuple[int, int, float]]:
    """(command, operation, seconds to the next one) of all operations of a stage."""
    found = []
    for number, (command, ended) in enumerate(zip(reference.commands, reference.ends, strict=True)):
        begins = [begin for begin, _, _ in ended.told]
        ends = [*begins[1:], begins[-1] + 0.05]
        for operation, its in enumerate(stages_of(command, ended)):
            if its == stage:
                found.append((number, operation, ends[operation] - begins[operation]))
    return found


def struck(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    """A command is hit at a random moment of a stage; then it and those after it are given again."""
    there = strikes(reference, stage)
    for _ in range(5):
        if kind == CRASH:
            number, operation, _ = draw.choice(there)
            strike = Strike(max(operation, 1))
        else:
            (number, operation, gap), *_ = draw.choices(there, [gap for *_, gap in there])
            sent, whole = SIGNALS[kind]
            strike = Strike(operation, gap * draw.random(), sent, whole)
        place = reference.begin(number)
        before = listing(place)
        hit = call(reference.commands[number].words, place, strike)
        if hit.code:
            break
    else:
        return Outcome("always too late", ["the command ended before it was hit"], 0.0)
    _, event, path = hit.told[-1] if hit.told else (0, "", "the begin")
    what = f"`wsis {' '.join(reference.commands[number].words)}`, exit {hit.code}, after {event} {path}"
    cpu, wrong = hit.cpu, list[str]()
    last = number + 1 if reference.alone else len(reference.commands)
    for command in reference.commands[number:last]:
        ended = call(command.words, place)
        cpu += ended.cpu
        wrong += failure(ended, command.words)
    end_session(hit.pid)
    return Outcome(what, wrong + judged(reference.before[last], place, before), cpu)


def damaged(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    """A file that a stage wrote is damaged between two commands; then all are given again.

    Where one fails, its line names the file; what `wsis verify` then says is done.
    """
    number, _, _ = draw.choice(strikes(reference, stage))
    later = draw.randrange(number + 1, len(reference.before))
    name = draw.choice(files(reference, number, stage, reference.before[later]))
    place = reference.begin(later)
    before = listing(place)
    damage(place / name, kind, draw)
    what, wrong, cpu = f"{name}, before command {later}", list[str](), 0.0
    first = draw.random() < 0.5  # `wsis verify` before anything else
    if first or kind == FLIPPED:
        found, ended = verified(place)
        cpu += ended.cpu
        if (
            kind == FLIPPED
            and not unread(name)
            and not any(Path(name).name in each["path"] for each in found)
        ):
            wrong.append(f"{name}: `wsis verify` doesn't find it")
        if first:
            cpu += mended(place, found)
    for _ in range(ROUNDS):
        failed = False
        for command in reference.commands:
            ended = call(command.words, place)
            cpu += ended.cpu
            if ended.code:
                failed = True
                lines = ended.output.strip().splitlines()
                if "Traceback" in ended.output:
                    wrong.append(f"a traceback: {' | '.join(lines[-3:])}")
                elif not any(Path(name).name.split(".")[0] in line for line in lines):
                    wrong.append(f"no line names {name}: {lines[-1:]}")
                break
        found, ended = verified(place)
        cpu += ended.cpu
        if not failed and not found:
            break
        cpu += mended(place, found)
    else:
        wrong.append(f"not whole after {ROUNDS} rounds: {found}")
    wrong += judged(reference.before[-1], place, before)
    return Outcome(what, [line for line in wrong if not spared(line)], cpu)


def spared(line: str) -> bool:
    """Whether a difference is that a file of SPARED, or its checksum, is missing."""
    name = line.rpartition("/")[2].removeprefix(".").removesuffix(".sha256")
    return line.startswith("missing: ") and name in SPARED


def files(reference: Reference, number: int, stage: str, later: Path) -> list[str]:
    """What command `number` wrote in a stage, or at all, and is still there in the folder `later`."""
    command, ended = reference.commands[number], reference.ends[number]
    there = {path: its for its, (*_, path) in zip(stages_of(command, ended), ended.told, strict=True)}
    there = {path: its for path, its in there.items() if _lasts(later / path)}
    new = names(reference.before[number + 1]) - names(reference.before[number])  # of folders that were moved
    there = {path: command.stage for path in new if _lasts(later / path)} | there
    return sorted(path for path in there if there[path] == stage) or sorted(there)


def _lasts(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0 and path.suffix != ".tmp"


def unread(name: str) -> bool:
    return name.startswith(UNREAD) or Path(name).name in UNREAD_NAMES or name.endswith(".sha256")


def verified(place: Path) -> tuple[list[dict[str, str]], Ended]:
    """What `wsis verify` finds in a folder."""
    ended = call(("verify", "--scale", SCALE, "--json"), place)
    lines = ended.output.splitlines()
    begin = next((number for number, line in enumerate(lines) if line in ("[", "[]")), len(lines))
    return json.loads("\n".join(lines[begin:]) or "[]"), ended


def mended(place: Path, found: list[dict[str, str]]) -> float:
    """Do what `wsis verify` says; CPU seconds."""
    cpu = 0.0
    for command in dict.fromkeys(each["command"] for each in found):
        for part in filter(None, command.split(" && ")):
            words = shlex.split(part)
            if words[0] == "wsis":
                cpu += call(words[1:], place).cpu
            else:
                subprocess.run(words, cwd=place, check=False, capture_output=True)
    return cpu


def failure(ended: Ended, words: tuple[str, ...]) -> list[str]:
    if not ended.code:
        return []
    end = " | ".join(ended.output.strip().splitlines()[-3:])
    return [f"`wsis {' '.join(words)}` ended with {ended.code}: {end}"]


def judged(whole: Path, place: Path, before: dict[str, tuple[int, int]]) -> list[str]:
    """All that is wrong with what a chain has left. whole: what an undisturbed one left."""
    wrong = differences(place, whole)
    wrong += [f"half written: {name}" for name in half_written(place)]
    return wrong + written(before, listing(place))


def suffered(reference: Reference, kind: str, stage: str, draw: Random) -> Outcome:
    return (damaged if kind in (FLIPPED, CUT) else struck)(reference, kind, stage, draw)
