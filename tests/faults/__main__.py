"""Kill processes and damage files at random, give the same commands again, compare with undisturbed chains.

python -m tests.faults --seed 1 --count 100       ends with 1 unless all survive
python -m tests.faults --seed 1 --case 17         that one alone
"""

from __future__ import annotations

import sys
from functools import partial

from tests.faults.cases import KINDS, suffered
from tests.faults.chains import ROWS
from tests.faults.load import loaded
from tests.faults.program import Program
from tests.faults.reference import undisturbed
from tests.faults.stages import STAGES


def has(paper: str, kind: str, stage: str) -> bool:
    """Whether a paper's chain goes through a stage."""
    return {"proxies": paper in ("boxcaseg", "baiseg"), "pictures": paper != "boxinst"}.get(stage, True)


def program(alone: bool = False) -> Program:
    chains = partial(undisturbed, alone=alone)
    return Program("tests.faults", ([*ROWS], KINDS, STAGES), has, chains, suffered)


def main() -> int:
    parser = program().parser(__doc__, 100)
    parser.add_argument("--alone", action="store_true", help="give only the command again that was hit")
    arguments = parser.parse_args()
    loaded()
    return program(arguments.alone).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
