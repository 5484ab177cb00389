"""A scale: how the papers' recipes are cut down to what a machine can run.

A scale's file may say `extends: <scale>` and then holds what differs: mappings merge key by key, lists and
values replace, and null removes a key of the base.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from wsis.declare.base import Count, Overrides, Positive, Spec, Weight
from wsis.declare.load import ROOT, DeclarationError, parse, read_yaml
from wsis.declare.measured import Measured
from wsis.declare.recipe import Recipe
from wsis.declare.scale_names import check_names
from wsis.declare.specs.data import Supervision
from wsis.errors import brief, shortened
from wsis.methods import info_of

Seeds = Annotated[tuple[Count, ...], Field(min_length=1)]


def kin(method: str) -> tuple[str, ...]:
    """The method's name, and that of the one whose settings at a scale it shares."""
    like = info_of(method).like
    return (method, like) if like else (method,)


class Warmup(Spec):
    """The run that recipes of these methods and supervisions fork from: the recipe with `set` laid on it."""

    papers: tuple[str, ...] = ()  # of rows of these papers' tables alone; empty: of any
    methods: tuple[str, ...]
    supervision: tuple[Supervision, ...]
    set: Overrides
    row: Overrides | None = None  # on the rows that fork from it, instead of the fork's own `set`


class Fork(Spec):
    """Ablation rows fork one shared detector warm-up a seed, so that they differ in one thing only."""

    set: Overrides  # on the forked row
    warmups: dict[str, Warmup]  # by a name for those that extend the scale; the first that fits counts

    @property
    def methods(self) -> frozenset[str]:
        return frozenset(method for warmup in self.warmups.values() for method in warmup.methods)


class Cost(Spec):
    """What `wsis plan` multiplies to estimate cost; measured or assumed as `source` says.

    Scales on real images have `seconds_per_image`. Generated ones have `step` and what follows it, units of
    wsis.bench.calibrate, which take every machine its own time. A key of those is 'method/trained',
    'method/backbone' or 'method'; the first that is there counts, those of `Info.like` last.
    """

    device: str  # the device that one device-hour means
    seconds_per_image: dict[str, Weight] | None = None  # backbone -> a training image, all included
    methods: dict[str, Weight] = Field(default={})  # method -> its time an image in units of BoxInst's
    step: dict[str, Weight] | None = None  # units a training image
    run: dict[str, Weight] | None = None  # units a run: its prediction and evaluation
    process: Weight | None = None  # units a process that is started
    root: Weight | None = None  # units a root that is drawn
    report: Weight | None = None  # units a report
    unit: Weight | None = None  # CPU seconds of a unit, where it has not been measured
    megabytes: dict[str, Weight]  # backbone -> disk of one run: weights, checkpoint, predictions
    source: str
    measured: dict[str, Weight] = Field(
        default={}
    )  # 'method/backbone' -> seconds a training image, of a machine

    @model_validator(mode="after")
    def _of_one_kind(self) -> Cost:
        units = {name: getattr(self, name) for name in ("step", "run", "process", "root", "report", "unit")}
        given = sum(value is not None for value in units.values())
        if given != (len(units) if self.seconds_per_image is None else 0):
            raise ValueError(f"either seconds_per_image, or all of {', '.join(units)}")
        return self

    def on(self, measured: Measured | None) -> Cost:
        """The costs on the device of `measured`.

        A method on a backbone that was not measured takes its declared time, multiplied by the median of
        what the measured ones take of theirs.
        """
        if measured is None or self.seconds_per_image is None:
            return self
        ratios = []
        for key, seconds in measured.seconds_per_image.items():
            method, backbone = key.split("/")
            declared = self.seconds_per_image.get(backbone, 0) * self.methods.get(method, 0)
            ratios += [seconds / declared] if declared else []
        ratio = median(ratios) if ratios else 1.0
        source = f"{len(measured.seconds_per_image)} methods and backbones measured (wsis bench step)"
        source += f", with torch {measured.torch}; others {ratio:.2g} times what is declared"
        return self.model_copy(
            update={
                "device": f"one {measured.device}",
                "seconds_per_image": {key: value * ratio for key, value in self.seconds_per_image.items()},
                "measured": measured.seconds_per_image,
                "source": source,
            }
        )

    def of_run(self, recipe: Recipe, images: int) -> float:
        """Device seconds, or units, of a run that trains on `images`, counted with repetition.

        Raises DeclarationError where the recipe's kind has no cost.
        """
        if self.seconds_per_image is not None:
            if not images:
                return 0.0
            for method in kin(recipe.method):
                if seconds := self.measured.get(f"{method}/{recipe.model.backbone}"):
                    return images * seconds
            seconds = self._entry("seconds_per_image", recipe, [recipe.model.backbone])
            return images * seconds * self._entry("methods", recipe, kin(recipe.method))
        model = recipe.model
        keys = [
            key
            for name in kin(recipe.method)
            for key in (f"{name}/{model.head}", f"{name}/{model.trained}", f"{name}/{model.backbone}", name)
        ]
        step = self._entry("step", recipe, keys) if images else 0.0
        return images * step + self._entry("run", recipe, keys)

    def disk(self, recipe: Recipe) -> float:
        """Megabytes of a run; those without a network leave predictions only."""
        backbone = recipe.model.backbone
        return 0.0 if backbone == "none" else self._entry("megabytes", recipe, [backbone])

    def _entry(self, section: str, recipe: Recipe, keys: Sequence[str]) -> float:
        costs = getattr(self, section)
        for key in keys:
            if key in costs:
                return costs[key]
        raise DeclarationError(
            f"cost.{section} of this scale has no {' or '.join(keys)}, which {recipe.id} needs"
        )


class Scale(Spec):
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]  # its file's; part of paths
    title: str
    seeds: Seeds
    seeds_for: dict[str, Seeds] = Field(default={})  # paper -> its own, instead
    set: Overrides = Field(default={})  # on every recipe
    # On the recipes of one method, after `set`; of '<method>/<head>' after those of the method alone.
    methods: dict[str, Overrides] = Field(default={})
    papers: dict[str, Overrides] = Field(default={})  # on the rows of one paper's tables, after `methods`
    # Dotted key -> {published value: value here}; a row with a value that is not listed isn't at this scale.
    substitute: dict[str, dict[str, str]] = Field(default={})
    # Method or '<method>/<head>' -> the same, instead.
    substitute_for: dict[str, dict[str, dict[str, str]]] = Field(default={})
    # Dotted key of a whole number -> what it is divided by: widths that shrink with the images.
    divide: dict[str, Positive] = Field(default={})
    overrule: tuple[str, ...] = ()  # keys of `set` that may silently replace what a row overrides
    fork: Fork | None = None
    runs_per_job: Positive = 1  # runs trained one after another in one process (its start costs ten seconds)
    cost: Cost
    data: Literal["generated", "root"] = "root"

    def overrides(self) -> Iterator[tuple[str, Overrides]]:
        """(key, the keys of recipes below it) of all that the scale lays on recipes."""
        yield "set", self.set
        for key in ("methods", "papers"):
            yield from ((f"{key}.{name}", over) for name, over in getattr(self, key).items())
        if self.fork is not None:
            yield "fork.set", self.fork.set
            for name, warmup in self.fork.warmups.items():
                yield f"fork.warmups.{name}.set", warmup.set
                yield f"fork.warmups.{name}.row", warmup.row or {}

    def of_method(
        self, key: Literal["methods", "substitute_for"], method: str, head: str
    ) -> Iterator[dict[str, Any]]:
        """What the scale has under `key` for a method, then for the method with this `model.head`.

        Each is that of the method that it is like, where it has none itself, and {} where that has none.
        """
        there = getattr(self, key)
        for end in ("", f"/{head}"):
            yield next((there[name + end] for name in kin(method) if name + end in there), {})


@cache
def load_scale(name: str, root: Path = ROOT) -> Scale:
    """The scale `name`, laid on the one that it extends; DeclarationError names those there are."""
    path = _path(name, root)
    scale = parse(Scale, _extended(name, root, ()), str(path))
    check_names(scale, str(path), root)
    return scale


def _path(name: str, root: Path) -> Path:
    return root / "scales" / f"{name}.yaml"


def _extended(name: str, root: Path, extending: tuple[str, ...]) -> dict[str, Any]:
    """The content of a scale's file, `extends` followed. extending: scales that led here."""
    path, whence = _path(name, root), f"{_path(extending[-1], root)}: extends: " if extending else ""
    if name in extending:
        raise DeclarationError(f"{whence}goes round in a circle: {' -> '.join((*extending, name))}")
    if name not in (there := sorted(p.stem for p in (root / "scales").glob("*.yaml"))):
        raise DeclarationError(f"{whence}no scale '{shortened(name)}' (there are: {', '.join(there)})")
    tree = read_yaml(path)
    if not isinstance(tree, dict):
        raise DeclarationError(f"{path}: expected a mapping of a scale's keys")
    if tree.setdefault("name", name) != name:
        raise DeclarationError(f"{path}: name: {brief(tree['name'])} is not the name of the file, '{name}'")
    base = tree.pop("extends", None)
    if base is None:
        return tree
    if not isinstance(base, str):
        raise DeclarationError(f"{path}: extends: expected a scale's name, got {brief(base)}")
    return _over(_extended(base, root, (*extending, name)), tree, str(path))


def _over(base: dict[str, Any], tree: dict[str, Any], where: str) -> dict[str, Any]:
    """`tree` laid on the scale that it extends: mappings merge key by key, a null removes the base's key.

    All else replaces what is there, lists as a whole. A dotted key is a key like any other.
    """
    merged = dict(base)
    for key, value in tree.items():
        if value is None and key not in base:
            raise DeclarationError(f"{where}: {key}: there is nothing to remove in the scale that it extends")
        if value is None:
            del merged[key]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _over(base[key], value, where)
        else:
            merged[key] = value
    return merged
