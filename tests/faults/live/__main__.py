"""Hit Snakemake, its jobs and its files at random, give the same call again, compare with an undisturbed one.

python -m tests.faults.live --seed 1 --count 10       ends with 1 unless all survive
python -m tests.faults.live --seed 1 --case 7         that one alone
"""

from __future__ import annotations

import sys

from tests.faults.live.cases import JOB, KINDS, suffered
from tests.faults.live.checkout import TARGETS
from tests.faults.live.reference import WORKFLOW, undisturbed
from tests.faults.program import Program
from tests.faults.stages import STAGES


def has(paper: str, kind: str, stage: str) -> bool:
    """Whether a paper's target goes through a stage, and there is a job for a kind that hits one."""
    papers = {"measures": [*TARGETS][1:], "pictures": ("sim", "baiseg"), "proxies": ("boxcaseg",)}
    return paper in papers.get(stage, TARGETS) and (kind, stage) != (JOB, WORKFLOW)


PROGRAM = Program("tests.faults.live", ([*TARGETS], KINDS, (*STAGES, WORKFLOW)), has, undisturbed, suffered)

if __name__ == "__main__":
    sys.exit(PROGRAM.main(PROGRAM.parser(__doc__, 10).parse_args()))
