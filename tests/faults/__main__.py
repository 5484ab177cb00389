"""Kill processes and damage files at random, give the same commands again, compare with undisturbed chains.

python -m tests.faults --seed 1 --count 100       ends with 1 unless all survive
python -m tests.faults --seed 1 --case 17         that one alone
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from itertools import cycle, islice, product
from pathlib import Path
from random import Random

from tests.faults.cases import KINDS, suffered
from tests.faults.chains import ROWS
from tests.faults.load import loaded
from tests.faults.reference import Reference, undisturbed
from tests.faults.stages import STAGES


def drawn(seed: int, count: int, *parts: list[str]) -> list[tuple[str, ...]]:
    """(paper, kind, stage) of the faults, all different as long as there are. parts: those to draw from."""
    every = [each for each in product(*parts) if has(each[0], each[2])]
    Random(seed).shuffle(every)
    return list(islice(cycle(every), count))


def has(paper: str, stage: str) -> bool:
    """Whether a paper's chain goes through a stage."""
    return {"proxies": paper in ("boxcaseg", "baiseg"), "pictures": paper != "boxinst"}.get(stage, True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--case", type=int, action="append", help="only these numbers of the seed's faults")
    parser.add_argument("--papers", nargs="*", default=[*ROWS])
    parser.add_argument("--kinds", nargs="*", default=[*KINDS])
    parser.add_argument("--stages", nargs="*", default=[*STAGES])
    parser.add_argument("--alone", action="store_true", help="give only the command again that was hit")
    arguments = parser.parse_args()
    chosen = (arguments.papers, arguments.kinds, arguments.stages)
    count = max([arguments.count, *(number + 1 for number in arguments.case or ())])
    faults = list(enumerate(drawn(arguments.seed, count, *chosen)))
    faults = [each for each in faults if arguments.case is None or each[0] in arguments.case]
    print(f"seed {arguments.seed}", flush=True)
    loaded()
    total, survived, cpu, references = Counter(), Counter(), 0.0, dict[str, Reference]()
    with tempfile.TemporaryDirectory() as base:
        for number, (paper, kind, stage) in faults:
            if paper not in references:
                references[paper] = undisturbed(paper, Path(base) / paper, arguments.alone)
                print(f"{paper}: a chain takes {references[paper].cpu:.0f} CPU s", flush=True)
            begin = time.monotonic()
            outcome = suffered(references[paper], kind, stage, Random(f"{arguments.seed} {number}"))
            total[kind, stage] += 1
            survived[kind, stage] += not outcome.wrong
            cpu += outcome.cpu
            took = f"{outcome.cpu:.0f} CPU s, {time.monotonic() - begin:.0f} s"
            print(f"{number} {paper}: {kind}, {stage}: {outcome.what}: {took}", flush=True)
            if outcome.wrong:
                words = " ".join(sys.argv[1:])
                print(f"  NOT SURVIVED; alone: python -m tests.faults {words} --case {number}")
                print("".join(f"  {line}\n" for line in outcome.wrong[:12]), end="", flush=True)
    print(table(total, survived))
    print(f"{sum(survived.values())} of {sum(total.values())} survived, {cpu:.0f} CPU s")
    return survived != total


def table(total: Counter, survived: Counter) -> str:
    """survived/faults of each kind and stage."""
    wide = max(map(len, KINDS))
    lines = [f"{'':{wide}}  " + "  ".join(STAGES)]
    for kind in KINDS:
        cells = [
            (f"{survived[kind, stage]}/{total[kind, stage]}" if total[kind, stage] else "-").rjust(len(stage))
            for stage in STAGES
        ]
        lines.append(f"{kind:{wide}}  " + "  ".join(cells))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
