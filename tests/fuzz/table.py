"""Try many bad inputs of every class and print how they ended: python -m tests.fuzz.table --seed 1 --each 80

Ends with 1 where one is a traceback, hangs, or is taken without a reason.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.classes import CLASSES, reason, tried
from wsis.errors import one_line

HUNG = 20  # seconds of one input


class Hung(BaseException):
    pass


def expired(number: int, frame: Any) -> None:
    raise Hung


def ends(name: str, number: int, each: int, folder: Path) -> list[tuple[str, str, str]]:
    """(how it ended, what was given, message or reason) of `each` inputs of a class."""
    found = []

    @seed(number)
    @settings(
        max_examples=each,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(CLASSES[name].inputs)
    def one(pair: tuple[tuple[Any, ...], str]) -> None:
        signal.alarm(HUNG)
        try:
            line = tried(name, pair[0], folder)
            found.append(("refused", pair[1], line) if line else taken(name, pair))
        except Hung:
            found.append(("hung", pair[1], ""))
        except Exception as error:
            found.append(("traceback", pair[1], "".join(traceback.format_exception(error)[-3:])))
        finally:
            signal.alarm(0)

    one()
    return found


def taken(name: str, pair: tuple[tuple[Any, ...], str]) -> tuple[str, str, str]:
    why = reason(name, pair[0])
    return ("accepted", pair[1], why) if why else ("unargued", pair[1], "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--each", type=int, default=80)
    parser.add_argument("--classes", nargs="*", default=list(CLASSES))
    arguments = parser.parse_args()
    signal.signal(signal.SIGALRM, expired)
    columns = ("refused", "accepted", "unargued", "traceback", "hung")
    print(f"seed {arguments.seed}\n{'class':16}" + "".join(f"{column:>11}" for column in columns))
    bad, reasons, total = [], Counter(), Counter()
    for name in arguments.classes:
        before = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = ends(name, arguments.seed, arguments.each, Path(folder))
        count = Counter(how for how, _, _ in found)
        total += count
        spent = time.process_time() - before
        print(f"{name:16}" + "".join(f"{count[column]:11}" for column in columns) + f"  {spent:.0f} CPU s")
        bad += [(name, *each) for each in found if each[0] in columns[2:]]
        reasons.update((name, why) for how, _, why in found if how == "accepted")
    print(f"{'all':16}" + "".join(f"{total[column]:11}" for column in columns))
    for (name, why), times in sorted(reasons.items()):
        print(f"accepted, {name}: {times} x {why}")
    for each in bad:
        print(one_line(" | ".join(each)))
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
