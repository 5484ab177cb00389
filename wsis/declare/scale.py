"""A scale: how the papers' recipes are cut down to what a machine can run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsis.declare.base import Count, Positive, Spec
from wsis.declare.load import ROOT, DeclarationError, parse, read_yaml

Overrides = dict[str, Any]


class Warmup(Spec):
    """The run that recipes of these methods and supervisions fork from: the recipe with `set` laid on it."""

    methods: tuple[str, ...]
    supervision: tuple[str, ...]
    set: Overrides
    row: Overrides | None = None  # on the rows that fork from it, instead of the fork's own `set`


class Fork(Spec):
    """Ablation rows fork one shared detector warm-up a seed, so that they differ in one thing only."""

    set: Overrides  # on the forked row
    warmups: tuple[Warmup, ...]

    @property
    def methods(self) -> set[str]:
        """Methods whose rows fork."""
        return {method for warmup in self.warmups for method in warmup.methods}


class Cost(Spec):
    """What `wsis plan` multiplies to estimate cost; measured or assumed as `source` says."""

    device: str  # the device that one device-hour means
    seconds_per_image: dict[str, float]  # backbone -> device seconds a training image, all included
    methods: dict[str, float] = Field(default={})  # method -> its time an image in units of BoxInst's
    megabytes: dict[str, float]  # backbone -> disk of one run: weights, checkpoint, predictions
    source: str


class Scale(Spec):
    name: Literal["smoke", "tiny", "mini", "paper"]
    title: str
    seeds: tuple[Count, ...]
    seeds_for: dict[str, tuple[Count, ...]] = Field(default={})  # paper -> its own, instead
    set: Overrides = Field(default={})  # on every recipe
    methods: dict[str, Overrides] = Field(default={})  # on the recipes of one method, after `set`
    papers: dict[str, Overrides] = Field(default={})  # on the rows of one paper's tables, after `methods`
    # Dotted key -> {published value: value here}; a row with a value that is not listed isn't at this scale.
    substitute: dict[str, dict[str, str]] = Field(default={})
    substitute_for: dict[str, dict[str, dict[str, str]]] = Field(default={})  # method -> the same, instead
    # Dotted key of a whole number -> what it is divided by: widths that shrink with the images.
    divide: dict[str, Positive] = Field(default={})
    overrule: tuple[str, ...] = ()  # keys of `set` that may silently replace what a row overrides
    fork: Fork | None = None
    runs_per_job: Positive = 1  # runs trained one after another in one process (its start costs ten seconds)
    cost: Cost
    data: Literal["generated", "root"] = "root"


@cache
def load_scale(name: str, root: Path = ROOT) -> Scale:
    """The scale `name`; DeclarationError names those there are."""
    path = root / "scales" / f"{name}.yaml"
    if not path.exists():
        there = ", ".join(sorted(p.stem for p in (root / "scales").glob("*.yaml")))
        raise DeclarationError(f"no scale '{name}' (there are: {there})")
    return parse(Scale, read_yaml(path), str(path))
