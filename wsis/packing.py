"""Runs -> jobs: what one process trains, one run after another.

A process costs as much to start as a small training, and rows of one seed share what it holds in memory (the
images, a frozen detector's outputs). So a seed's family, a warm-up with all that forks from it, is one job,
and small families that read the same generated images share one. A family is cut where a table is complete
earlier for it: after the rows of the first table that is wanted, at `runs_per_job`, and where there are fewer
jobs than cores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsis.data.places import shapes_root
from wsis.declare.load import DeclarationError

if TYPE_CHECKING:
    from wsis.plan import Plan

WORTH = 3  # runs that repay the start of a process of their own


@dataclass(frozen=True)
class Job:
    """Runs that one process trains in this order; `needs` are parents that are trained elsewhere."""

    id: str
    runs: tuple[str, ...]
    needs: tuple[str, ...]
    data: str | None  # folder name of the generated data root, None for a root of the user's
    rank: int = 0  # of the first table, in the order in which tables are wanted, that shows one of its runs


def pack(
    plan: Plan, tables: Sequence[str] | None = None, finished: Collection[str] = (), cores: int = 1
) -> list[Job]:
    """Jobs of the runs that `tables` show (None: of every run) and of what those need, in the tables' order.

    finished: runs that need no job. cores: with fewer jobs than that, jobs are split, as far as runs allow.
    Every job stands after those that train what it needs. DeclarationError for a run that needs one which
    is not planned.
    """
    for run in plan.runs.values():
        if missing := [need for need in run.needs if need not in plan.runs]:
            raise DeclarationError(f"{run.id}: no recipe has the id {missing[0]}, which it needs")
    ranks = dict.fromkeys(plan.with_needed(plan.runs), 0) if tables is None else table_ranks(plan, tables)
    todo = {run: rank for run, rank in ranks.items() if run not in finished}
    parts = _joined(_cut(_families(plan, todo), todo, plan.scale.runs_per_job), todo, plan)
    parts = _ordered(sorted(parts, key=lambda part: min(todo[run] for run in part)), plan)
    pieces = -(-cores // len(parts)) if parts else 0
    return [
        _job(piece, plan, min(todo[run] for run in part))
        for part in parts
        for piece in _split(part, plan, pieces)
    ]


def table_ranks(plan: Plan, tables: Sequence[str]) -> dict[str, int]:
    """Run -> position of the first of `tables` that needs it."""
    ranks: dict[str, int] = {}
    for rank, key in enumerate(tables):
        for run in plan.with_needed(plan.wanted([key])):
            ranks.setdefault(run, rank)
    return ranks


def _families(plan: Plan, todo: dict[str, int]) -> list[list[str]]:
    """A warm-up and what forks from it, in the order in which tables want them; parents first."""
    families: dict[str, list[str]] = {}
    for run in todo:
        origin = run
        while needs := plan.runs[origin].needs:
            origin = needs[0]
        families.setdefault(origin, []).append(run)
    return list(families.values())


def _cut(families: list[list[str]], ranks: dict[str, int], most: int) -> list[list[str]]:
    """Parts of at most `most` runs; the first table's are apart where the others are worth a process."""
    first = min(ranks.values(), default=0)
    parts = []
    for members in families:
        early = sum(ranks[run] == first for run in members)
        cuts = [members[:early], members[early:]] if len(members) - early >= WORTH else [members]
        parts += [cut[start : start + most] for cut in cuts for start in range(0, len(cut), most)]
    return parts


def _joined(parts: list[list[str]], ranks: dict[str, int], plan: Plan) -> list[list[str]]:
    """Join small families that read the same generated images, those of the first table apart.

    A family that waits for another job stays alone, so that no two jobs wait for each other. Joined runs that
    train are at most half of `runs_per_job`: the last of few long jobs would leave cores idle.
    ranks: of the runs that are to be trained.
    """
    first, most = min(ranks.values(), default=0), plan.scale.runs_per_job
    joined: list[list[str]] = []
    room: dict[tuple, list[str]] = {}  # what joined families have in common -> the list that still has room
    for part in parts:
        data = shapes_root(plan.runs[part[0]].recipe)
        key = (data, ranks[part[0]] == first)
        others = {need for run in part for need in plan.runs[run].needs if need in ranks} - {*part}
        alone = data is not None and not others
        trains = any(plan.runs[run].iterations for run in part)
        if alone and key in room and len(room[key]) + len(part) <= (most // 2 if trains else most):
            room[key] += part
            continue
        part = list(part)
        joined.append(part)
        if alone:
            room[key] = part
    return joined


def _ordered(parts: list[list[str]], plan: Plan) -> list[list[str]]:
    """Parts in their order, except that each comes after those that it needs."""
    ordered: list[list[str]] = []
    left = list(parts)
    while left:
        missing = {run for part in left for run in part}
        ready = next(
            part
            for part in left
            if not ({need for run in part for need in plan.runs[run].needs} - {*part}) & missing
        )
        ordered.append(ready)
        left.remove(ready)
    return ordered


def _split(part: list[str], plan: Plan, pieces: int) -> list[list[str]]:
    """Cut `part` into up to `pieces` lists that can run at once; what they all need is a list before them."""
    pieces = min(pieces, len(part) // WORTH)
    if pieces < 2:
        return [part]
    parents = {need for run in part for need in plan.runs[run].needs} & {*part}
    common = [run for run in part if run in parents]
    leaves = [run for run in part if run not in parents]
    cut = [leaves[start::pieces] for start in range(pieces)]
    return [piece for piece in (common, *cut) if piece]


def _job(runs: list[str], plan: Plan, rank: int) -> Job:
    needs = {need for run in runs for need in plan.runs[run].needs} - {*runs}
    name = runs[0]
    if len(runs) > 1:  # the same first run and number may stand for others, with another target
        name += f"-{len(runs)}-{hashlib.sha256(' '.join(runs).encode()).hexdigest()[:6]}"
    return Job(name, tuple(runs), tuple(sorted(needs)), shapes_root(plan.runs[runs[0]].recipe), rank)
