"""The parts of `wsis bench gpu`: each is a process of its own, with its own time limit.

A part yields rows, dictionaries that go into the result as they are. `name` says what a row is about, and
`faults` lists in sentences what is not as it should be. No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from wsis.errors import WsisError
from wsis.plan import make_plan

Row = dict[str, Any]
PACKAGE = __package__
STEPS = "steps"  # this part is one for each method: "steps NAME"
WORKFLOW = "workflow"
TOTAL = 600  # seconds for all parts together


@dataclass(frozen=True)
class Size:
    """scale: whose recipes are trained; side: of the drawn images, pixels; images: in a batch."""

    scale: str
    side: int
    images: int
    steps: int


REAL = Size("mini", side=512, images=4, steps=8)
SMOKE = Size("smoke", side=96, images=2, steps=3)


@dataclass(frozen=True)
class Setting:
    """What the parts are run with.

    accelerator: "cuda", or "cpu" for a dry run
    data_root:   real images, as the workflow takes them; None: the part that needs them is skipped
    """

    accelerator: str
    data_root: str | None = None

    @property
    def size(self) -> Size:
        return REAL if self.accelerator == "cuda" else SMOKE


class Skipped(WsisError):
    """A part can't be run here; the message is the reason."""


@dataclass(frozen=True)
class Part:
    """target: "module:function" in this package; limit: seconds, also of a dry run; about: a title."""

    target: str
    limit: int
    about: str

    def rows(self, setting: Setting, words: list[str]) -> Iterator[Row]:
        """The part's rows. Raises Skipped, or whatever goes wrong."""
        work: Callable[..., Iterator[Row]] = resolve_name(f"{PACKAGE}.{self.target}")
        return work(setting, *words)


EACH = Part("training:steps", 29, "Steps of a method, against the processor's")
PARTS = {
    "waits": Part("waits:waits", 90, "Waits of a step, by the profiler and as the simulated card predicts"),
    "resume": Part("training:resume", 45, "A training that is stopped and goes on"),
    "pairwise": Part("layers:pairwise", 35, "wsis bench pairwise"),
    "sync_norm": Part("layers:sync_norm", 45, "Batch norm over processes, against torch's"),
    "optimiser": Part("layers:optimiser", 20, "Fused optimisers leave weights alone after a bad gradient"),
    "feed": Part("layers:feed", 30, "Images read by processes, pinned, sent ahead"),
    WORKFLOW: Part("real:workflow", 97, "A short training on real images through the workflow"),
}


def all_parts() -> dict[str, Part]:
    """Name -> part, in the order in which they are run."""
    each = {f"{STEPS} {name}": EACH for name in methods()}
    return each | PARTS


def methods() -> list[str]:
    """The methods that train something."""
    plan = make_plan(SMOKE.scale, seeds=(0,))
    return sorted({run.recipe.method for run in plan.runs.values() if run.iterations})
