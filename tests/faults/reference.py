"""What an undisturbed chain leaves: its files before and after each command, and when it did what."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.chains import Command, chain
from tests.faults.process import Ended, call

PLACE = "work"  # results may hold the folder's path: all chains of a paper run in one of the same name


@dataclass
class Reference:
    """A paper's chain.

    before  the folders as each command found them, and as the last one left them
    alone   a chain that is hit ends after the command that was hit
    """

    paper: str
    folder: Path
    commands: list[Command]
    ends: list[Ended] = field(default_factory=list)
    before: list[Path] = field(default_factory=list)
    alone: bool = False

    @property
    def place(self) -> Path:
        return self.folder / PLACE

    @property
    def cpu(self) -> float:
        return sum(ended.cpu for ended in self.ends)

    def begin(self, number: int) -> Path:
        """A folder as command `number` found it, with the files' times."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.before[number], self.place)
        return self.place


def undisturbed(paper: str, folder: Path, alone: bool = False) -> Reference:
    made = Reference(paper, folder, chain(paper), alone=alone)
    for number, command in enumerate([*made.commands, None]):
        for name in ("home", "tmpdir"):
            (made.place / name).mkdir(parents=True, exist_ok=True)
        made.before.append(folder / f"before-{number}")
        shutil.copytree(made.place, made.before[-1])
        if command is not None:
            made.ends.append(call(command.words, made.place))
            if made.ends[-1].code:
                raise SystemExit(f"an undisturbed chain failed: {command}\n{made.ends[-1].output}")
    return made
