"""What the programs of faults have in common: they draw some, see who survives, and count."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.cases import Outcome


@dataclass(frozen=True)
class Program:
    """A program of faults.

    module       its name, for the line that repeats a fault
    parts        papers, kinds and stages
    has          whether a paper has a stage in which a kind can strike
    undisturbed  (paper, folder) -> what an undisturbed paper leaves, with `cpu` seconds
    suffered     (that, kind, stage, draw) -> the outcome of a fault
    """

    module: str
    parts: tuple[Sequence[str], Sequence[str], Sequence[str]]
    has: Callable[[str, str, str], bool]
    undisturbed: Callable[[str, Path], Any]
    suffered: Callable[[Any, str, str, Random], Outcome]

    def drawn(self, seed: int, count: int, *parts: Sequence[str]) -> list[tuple[str, str, str]]:
        """(paper, kind, stage) of the faults, each about as often as the others. parts: to draw from."""
        every = [each for each in product(*(parts or self.parts)) if self.has(*each)]
        Random(seed).shuffle(every)
        used, found = Counter[Any](), list[tuple[str, str, str]]()
        for _ in range(count):
            found.append(min(every, key=lambda each: (used[each], sum(used[part] for part in each))))
            used.update([found[-1], *found[-1]])
        return found

    def main(self, arguments: argparse.Namespace) -> int:
        """Do what the command line says; 1 unless all survive."""
        chosen = (arguments.papers, arguments.kinds, arguments.stages)
        count = max([arguments.count, *(number + 1 for number in arguments.case or ())])
        faults = list(enumerate(self.drawn(arguments.seed, count, *chosen)))
        faults = [each for each in faults if arguments.case is None or each[0] in arguments.case]
        print(f"seed {arguments.seed}", flush=True)
        total, survived, cpu, references = Counter(), Counter(), 0.0, dict[str, Any]()
        with tempfile.TemporaryDirectory() as base:
            for number, (paper, kind, stage) in faults:
                if paper not in references:
                    references[paper] = self.undisturbed(paper, Path(base) / paper)
                    print(f"{paper}: undisturbed, {references[paper].cpu:.0f} CPU s", flush=True)
                begin = time.monotonic()
                outcome = self.suffered(references[paper], kind, stage, Random(f"{arguments.seed} {number}"))
                total[kind, stage] += 1
                survived[kind, stage] += not outcome.wrong
                cpu += outcome.cpu
                took = f"{outcome.cpu:.0f} CPU s, {time.monotonic() - begin:.0f} s"
                print(f"{number} {paper}: {kind}, {stage}: {outcome.what}: {took}", flush=True)
                if outcome.wrong:
                    words = re.sub(r"--case[ =]\d+ ?", "", " ".join(sys.argv[1:])).strip()
                    print(f"  NOT SURVIVED; alone: python -m {self.module} {words} --case {number}")
                    print("".join(f"  {line}\n" for line in outcome.wrong[:12]), end="", flush=True)
        print(self.table(total, survived))
        print(f"{sum(survived.values())} of {sum(total.values())} survived, {cpu:.0f} CPU s")
        return int(survived != total)

    def parser(self, description: str | None, count: int) -> argparse.ArgumentParser:
        """The options of a program. count: faults, where nothing is said."""
        papers, kinds, stages = self.parts
        parser = argparse.ArgumentParser(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--count", type=int, default=count)
        parser.add_argument(
            "--case", type=int, action="append", help="only these numbers of the seed's faults"
        )
        parser.add_argument("--papers", nargs="*", default=[*papers])
        parser.add_argument("--kinds", nargs="*", default=[*kinds])
        parser.add_argument("--stages", nargs="*", default=[*stages])
        return parser

    def table(self, total: Counter, survived: Counter) -> str:
        """survived/faults of each kind and stage."""
        _, kinds, stages = self.parts
        wide = max(map(len, kinds))
        lines = [f"{'':{wide}}  " + "  ".join(stages)]
        for kind in kinds:
            cells = [
                (f"{survived[kind, stage]}/{total[kind, stage]}" if total[kind, stage] else "-").rjust(
                    len(stage)
                )
                for stage in stages
            ]
            lines.append(f"{kind:{wide}}  " + "  ".join(cells))
        return "\n".join(lines)
