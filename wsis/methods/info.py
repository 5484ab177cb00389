"""What a method says of itself without torch: the plan, the workflow and the report ask nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsis.measures.measure import MeasureSet


@dataclass(frozen=True)
class Pictures:
    """Sheets of pictures that show what a trained run does.

    words:    what they show, in a few words
    draw:     "module:function", imported when they are drawn; `wsis.pictures.subject.Subject` -> its sheets
    rows:     (table, row label) whose runs of the first seed have them in reports
    of_masks: of runs that are trained on the method's masks, not of the method's own runs
    beside:   (table, row label) whose run of the same seed is shown, too; only runs of `rows` have such
    """

    words: str
    draw: str
    rows: tuple[tuple[str, str], ...] = ()
    of_masks: bool = False
    beside: tuple[str, str] | None = None


@dataclass(frozen=True)
class Info:
    """One method. A key that is left out means that the method is an ordinary detector.

    network: "module:Class", imported when it is built, with a settled recipe and the number of classes.
    benches: name of a `wsis bench` command -> "module:function", whose arguments are the command's.
    pictures: several kinds; of a run the first that fits it is drawn.
    measures: sets of measures that come with the method, for tables and figures.
    """

    name: str
    network: str
    benches: Mapping[str, str] = field(default_factory=dict)
    pictures: tuple[Pictures, ...] = ()
    measures: tuple[MeasureSet, ...] = ()
