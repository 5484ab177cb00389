"""A checkout in which Snakemake makes a small target of a paper; its processes tell what they write."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.faults.chains import SCALE
from tests.workflow.test_workflow import ROOT, copied, environment

# Paper -> the target that is made. Together they go through every stage.
TARGETS = {"boxinst": "boxinst_2", "sim": "sim_5", "boxcaseg": "boxcaseg_8", "baiseg": "baiseg_4"}
# The tables in the checkout: the target's, and those that its claims and its rows with pictures stand in.
TABLES = {
    "boxinst": ("boxinst/table2",),
    "sim": ("boxinst/table3", "sim/table3", "sim/table5"),
    "boxcaseg": ("boxcaseg/table8",),
    "baiseg": ("baiseg/table3", "baiseg/table4"),
}
STATE = ("results", "reports", ".snakemake")  # what a workflow leaves
HOME = ("home", "tmpdir")
CACHES = (".cache/snakemake", ".cache/matplotlib", ".config/matplotlib")  # of tools, in HOME
HUNG = 300.0  # seconds of a call
POLL = 0.01  # seconds


class Operation(NamedTuple):
    """A process begins, or is about to change a file. program: snakemake, or the command of `wsis`."""

    time: float
    pid: int
    program: str
    event: str
    path: str


class Call:
    """A call of Snakemake that runs, in a session of its own."""

    def __init__(self, words: Sequence[str], checkout: Path) -> None:
        told, self.log = checkout.with_suffix(".told"), checkout.with_suffix(".txt")
        told.write_bytes(b"")
        self.told, self.rest = told.open("rb"), b""
        self.operations = list[Operation]()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                words,
                cwd=checkout,
                env=around(checkout) | {"FAULTS_TOLD": str(told)},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.deadline = time.monotonic() + HUNG

    def goes_on(self) -> bool:
        """Wait a moment and read what was told meanwhile; False once the call is over or has hung."""
        runs = self.process.poll() is None and time.monotonic() < self.deadline
        time.sleep(POLL)
        *lines, self.rest = (self.rest + self.told.read()).split(b"\n")
        for line in lines:
            pid, program, event, path = line.decode(errors="replace").split("\t", 3)
            if event == "begin" or path.startswith(STATE):
                self.operations.append(Operation(time.monotonic(), int(pid), program, event, path))
        return runs

    def ended(self) -> int | None:
        """The exit code once it is over; None where it hung, and was killed."""
        while self.goes_on():
            pass
        if self.process.poll() is None:
            self.kill()
            return None
        return self.process.returncode

    def kill(self) -> None:
        """End the call and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def alone(self, seconds: float = 60.0) -> bool:
        """Whether all that the call started is over, after a while."""
        deadline = time.monotonic() + seconds
        while any(_group(process) == self.process.pid for process in Path("/proc").glob("[0-9]*")):
            if time.monotonic() > deadline:
                self.kill()
                return False
            time.sleep(0.1)
        return True

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """All its processes stand still."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        time.sleep(2 * POLL)
        yield
        os.killpg(self.process.pid, signal.SIGCONT)


def _group(process: Path) -> int | None:
    """The process group of a process that isn't over. process: its folder in /proc."""
    with suppress(OSError):
        state, _, group, *_ = (process / "stat").read_text().rpartition(")")[2].split()
        return int(group) if state not in "ZX" else None
    return None


@dataclass(frozen=True)
class Checkout:
    """folder: of the code, results and reports, which may hold its path."""

    folder: Path
    paper: str

    def words(self, *more: str) -> list[str]:
        call = [sys.executable, "-m", "snakemake", "--cores", "1", *more, "--config", f"scale={SCALE}"]
        return [*call, "--", TARGETS[self.paper]]

    def start(self) -> Call:
        return Call(self.words(), self.folder)

    def run(self, words: Sequence[str] | str) -> tuple[int, str]:
        """Run a command to its end; its code and output. words: a text is a line of a shell."""
        done = subprocess.run(
            words,
            shell=isinstance(words, str),
            cwd=self.folder,
            env=around(self.folder),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        return done.returncode, done.stdout

    def put(self, state: Path) -> None:
        """Let it be as it was when `state` was kept, with the files' times, and unlocked."""
        for name in (*STATE, *HOME):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            if (state / name).exists():
                shutil.copytree(state / name, self.folder / name, symlinks=True)
        for name in HOME:
            (self.folder / name).mkdir()
        shutil.rmtree(self.folder / ".snakemake" / "locks", ignore_errors=True)

    def keep(self, state: Path) -> None:
        """Keep what the workflow has left up to now as a folder."""
        state.mkdir(parents=True)
        for name in STATE:
            if (self.folder / name).exists():
                shutil.copytree(self.folder / name, state / name, symlinks=True)

    def beside(self) -> dict[str, int]:
        """File -> time of all that is neither the workflow's nor a cache of a tool."""
        found = dict[str, int]()
        for base, folders, files in os.walk(self.folder):
            if Path(base) == self.folder:
                folders[:] = [name for name in folders if name not in STATE]
            folders[:] = [name for name in folders if name != "__pycache__"]
            paths = [os.path.join(base, name) for name in files]
            found |= {os.path.relpath(path, self.folder): os.stat(path).st_mtime_ns for path in paths}
        caches = tuple(f"home/{name}" for name in CACHES)
        return {name: when for name, when in found.items() if not name.startswith(caches)}


def made(folder: Path, paper: str) -> Checkout:
    """A copy of this checkout with a few tables, in which nothing was run."""
    folder.mkdir(parents=True)
    copied(folder)
    for path in folder.glob("ablations/*/table*.yaml"):
        if f"{path.parent.name}/{path.stem}" not in TABLES[paper]:
            path.unlink()
    return Checkout(folder, paper)


def around(folder: Path) -> dict[str, str]:
    """The environment of a user whose home and temporary folder lie beside the results."""
    inherited = {key: value for key, value in environment(folder).items() if key != "PYTHONDONTWRITEBYTECODE"}
    places = {name.upper(): str(folder / name) for name in HOME}
    modules = os.pathsep.join(map(str, (ROOT / "tests" / "faults" / "hooks", folder, ROOT)))
    programs = os.pathsep.join([os.path.dirname(sys.executable), inherited["PATH"]])
    return inherited | places | {"PYTHONPATH": modules, "PATH": programs}


def spent() -> float:
    """CPU seconds of all processes that have ended and were waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
