"""What a measure is, and a set of measures that one pass finds together. No torch here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from wsis.data.roots import Root
    from wsis.declare.recipe import Recipe
    from wsis.declare.table import Row, Table
    from wsis.plan import Plan, Run


@dataclass(frozen=True)
class Measure:
    """One number of a row.

    name    of the column in a table's YAML
    words   the column's heading in reports
    unit    of the number
    better  which way is better; None where neither is
    ours    whether it is a measure of ours; else a paper prints it among its own columns
    """

    name: str
    words: str
    unit: str = "%"
    better: Literal["higher", "lower"] | None = "higher"
    ours: bool = True


@dataclass(frozen=True)
class Place:
    """Where a row's numbers stand: the file's key, and the case in it."""

    key: str
    case: str


@dataclass(frozen=True)
class Absent:
    """Why a row has no such number. meant: it should have one; else its cell is empty and nothing missing."""

    reason: str
    meant: bool = False


@dataclass
class Asked:
    """A row of a table of which a measure is asked. run: of one seed; None where the row has none here."""

    plan: Plan
    table: Table
    row: Row
    run: Run | None

    @property
    def recipe(self) -> Recipe:
        return self.run.recipe

    @cached_property
    def published(self) -> Recipe:
        """The recipe that the paper ran, whatever the scale."""
        from wsis.declare.resolve import published_recipe

        return published_recipe(self.table, self.row, self.plan.root)


@dataclass
class Subject:
    """What one pass measures: all cases of one key, by the rows that ask for them.

    run, folder   the run whose id is the key, and its files; None where the set needs no run
    root          the images; None where the set needs nothing but recipes
    base          results/<scale>
    device        torch device that networks run on
    """

    key: str
    cases: dict[str, Asked]
    base: Path
    run: Run | None = None
    folder: Path | None = None
    root: Root | None = None
    device: Any = "cpu"


@dataclass
class Measured:
    """What one pass found.

    values   case -> measure -> number; None where it is undefined on this data
    details  numbers that no table shows
    curves   of the figures that the set draws: {"label", "metric", "points": [[x, y], ...]}
    """

    values: dict[str, dict[str, float | None]]
    details: dict[str, Any] = field(default_factory=dict)
    curves: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class MeasureSet:
    """Measures that one pass finds together.

    name      of its folder under results/<scale>/measures, and in commands
    measures  in the order in which they are shown
    note      what they are, under each table that has one of ours
    place     (asked, measure) -> where a row's number stands, or why it has none
    compute   "module:function" of Subject -> Measured, imported when it runs
    needs     what a key is: a trained "run", the images of a "data" root, or nothing but a "recipe". Only
              numbers of a run differ between seeds
    code      modules that decide the numbers; that of `compute` and what these import always do
    network   whether a network runs, on a graphics card where there is one
    """

    name: str
    measures: tuple[Measure, ...]
    note: str
    place: Callable[[Asked, str], Place | Absent]
    compute: str
    needs: Literal["run", "data", "recipe"] = "run"
    code: tuple[str, ...] = ()
    network: bool = False

    @property
    def names(self) -> frozenset[str]:
        return frozenset(measure.name for measure in self.measures)

    @property
    def modules(self) -> tuple[str, ...]:
        """Whose code decides the numbers."""
        return (self.compute.partition(":")[0], *self.code)
