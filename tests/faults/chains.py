"""A chain of commands for each paper, at the smallest scale, that goes through every stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from wsis.data.places import shapes_root
from wsis.flow.picture_jobs import illustrated
from wsis.plan import Plan, make_plan

SCALE = "smoke"
# Paper -> a row that continues others, the set of measures of the paper, and the table that Snakemake makes.
ROWS = {
    "boxinst": ("boxinst/3", "projection + pairwise", "colour-affinity"),
    "sim": ("sim/3", "pseudo + paste", "pseudo"),
    "boxcaseg": ("boxcaseg/7", "PASCAL, merge, drop", "proxy"),
    "baiseg": ("baiseg/1", "BAISeg (Semantic_gd)*†", "boundary"),
}
OFTEN = ("--accelerator", "cpu", "--threads", "1", "--workers", "1", "--checkpoint-seconds", "0")


@dataclass(frozen=True)
class Command:
    """One call of the command line. run: the one that it trains, if it trains one."""

    stage: str
    words: tuple[str, ...]
    run: str | None = None


@cache
def plan() -> Plan:
    return make_plan(SCALE)


def chain(paper: str) -> list[Command]:
    """The commands that make a row of a paper, from the images to the report."""
    return list(_commands(paper))


def _commands(paper: str) -> Iterator[Command]:
    table, row, measures = ROWS[paper]
    (last,) = plan().row_runs(table, row).values()
    runs, scale = plan().with_needed([last]), ("--scale", SCALE)
    recipe = plan().runs[last].recipe
    root = ("--seed", str(recipe.seed), "--root", shapes_root(recipe))
    yield Command("data", ("data", "make", *scale, *root))
    for run in runs:
        stage = "last training" if run == last else "first training"
        yield Command(stage, ("train", *scale, *OFTEN, run), run)
    yield Command("evaluation", ("evaluate", *scale, *(run for run in runs if plan().runs[run].rows)))
    yield Command("measures", ("measure", *scale, "--accelerator", "cpu", measures))
    if shown := [run for run in runs if run in illustrated(plan())]:
        yield Command("pictures", ("pictures", *scale, *shown))
    yield Command("collection", ("collect", *scale))
    yield Command("rendering", ("report", *scale))
