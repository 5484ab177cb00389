"""Ids of the declared recipes are frozen: they name the folders of finished trainings.

A change here gives finished runs away. Where that is meant, `python tests/declare/test_ids.py` writes the
file anew, and the commit says which rows changed and why.
"""

from pathlib import Path

import pytest

from wsis.plan import make_plan

FROZEN = Path(__file__).with_name("recipe_ids.txt")
SCALES = ("smoke", "tiny", "mini", "paper")


def lines(scale: str) -> list[str]:
    """'scale id row; row' of every run of one seed, in the plan's order of its scale."""
    plan = make_plan(scale)
    first = {plan.seeds_of(table.paper)[0] for table in plan.tables.values()}
    return [
        f"{scale} {run.id} {'; '.join(f'{table} {label}' for table, label in run.rows) or 'warm-up'}"
        for run in plan.runs.values()
        if run.seed in first
    ]


@pytest.mark.parametrize("scale", SCALES)
def test_every_recipe_keeps_its_id(scale):
    frozen = [line for line in FROZEN.read_text(encoding="utf-8").splitlines() if line.startswith(scale)]
    now = lines(scale)
    gone, new = set(frozen) - set(now), set(now) - set(frozen)
    assert not gone and not new, "\n".join(["gone:", *sorted(gone), "new:", *sorted(new)])


if __name__ == "__main__":
    FROZEN.write_text("\n".join(line for s in SCALES for line in lines(s)) + "\n", encoding="utf-8")
