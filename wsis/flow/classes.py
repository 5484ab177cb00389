"""Classes of trainings: jobs that ask for the same time and cards. Each class is a rule of the workflow.

A scheduler's array gives all of its jobs what the first one asked for, and a profile has one entry a rule.
The name of a class is the length of its jobs (`short`, `medium`, `long`), then their cards where these are
fewer than the workflow's `gpus`: long, long_2, short_cpu. A job that may take longer than `long` goes on in
further jobs (`wsis.signals`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsis.errors import WsisError
from wsis.packing import Job

if TYPE_CHECKING:
    from wsis.declare.recipe import Recipe
    from wsis.plan import Plan

LENGTHS = {"short": 4 * 60, "medium": 24 * 60, "long": 48 * 60}  # minutes that jobs take; long ones go on
START, MARGIN = 60, 1.5  # minutes and a factor on top of what is planned


@dataclass(frozen=True)
class Class:
    """Jobs by their ids, and what each of them asks for: cards in all, machines, minutes."""

    name: str
    jobs: tuple[str, ...]
    cards: int
    nodes: int
    minutes: int


def classes(plan: Plan, jobs: Iterable[Job], gpus: int, nodes: int = 1) -> list[Class]:
    """The classes of these trainings, on up to `gpus` cards of `nodes` machines each; 0 is the CPU.

    Raises WsisError where the cards can't be spread evenly over the machines.
    """
    if nodes > 1 and (gpus < nodes or gpus % nodes):
        raise WsisError(
            f"gpus={gpus} nodes={nodes}: as many cards on each machine, so gpus is a multiple of nodes"
        )
    groups: dict[tuple[str, str, int], list[Job]] = {}
    for job in jobs:
        recipes = [plan.runs[run].recipe for run in job.runs]
        cards = max(usable(recipe, gpus, nodes) for recipe in recipes)
        hours = sum(plan.runs[run].device_hours for run in job.runs) / max(cards, 1)
        minutes = START + round(60 * MARGIN * hours)
        length = next((name for name, most in LENGTHS.items() if minutes <= most), "long")
        fewer = "" if cards == gpus else f"_{cards or 'cpu'}"
        groups.setdefault((length, fewer, cards), []).append(job)
    return [
        Class(
            length + fewer,
            tuple(job.id for job in members),
            cards,
            machines(cards, gpus, nodes),
            LENGTHS[length],
        )
        for (length, fewer, cards), members in groups.items()
    ]


def usable(recipe: Recipe, gpus: int, nodes: int = 1) -> int:
    """Cards, of `gpus` on `nodes` machines, that a recipe can use.

    They are at most its own, they divide its batch, and lie on as few machines as they can, as many on each.
    What has no network needs none.
    """
    if recipe.model.backbone == "none":
        return 0
    cards = recipe.schedule.usable_devices(gpus) if gpus else 0
    while cards and cards % machines(cards, gpus, nodes):
        cards = recipe.schedule.usable_devices(cards - 1)
    return cards


def machines(cards: int, gpus: int, nodes: int) -> int:
    """The fewest of `nodes` machines, with gpus / nodes cards each, that have `cards`."""
    return max(1, -(-cards * nodes // gpus)) if gpus else 1
