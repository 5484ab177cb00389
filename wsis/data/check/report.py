"""What `wsis data check` finds in a data root, for the uses that are to be made of it.

A *problem* makes a training or an evaluation fail or lie; a *note* is handled and only told. Every finding
names the file, the id where there is one, and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

FETCH = "fetch the file again"
SHOWN = 10  # findings of one kind that `lines` prints
EVALUATED = ("val", "test", "minival")  # how names of splits begin that are evaluated on
READ_MASKS = frozenset({"masks", "masks-voc", "masks-nonvoc", "semantic"})  # supervisions


@dataclass(frozen=True)
class Uses:
    """Who reads the root, which decides what is a fault.

    train, eval:  splits; None: all, told by their names
    supervisions: of the trainings; None: unknown, any may come
    predict_only: nothing is evaluated, so that no mask is needed for it
    """

    train: frozenset[str] | None = None
    eval: frozenset[str] | None = None
    supervisions: frozenset[str] | None = None
    predict_only: bool = False

    def evaluated(self, split: str) -> bool:
        return split.startswith(EVALUATED) if self.eval is None else split in self.eval

    def trained(self, split: str) -> bool:
        return not self.evaluated(split) if self.train is None else split in self.train

    def missing(self, splits: Iterable[str]) -> list[str]:
        """Splits that are asked for and not among those that are there."""
        return sorted({*(self.train or ()), *(self.eval or ())} - {*splits})

    @property
    def reads_masks(self) -> bool | None:
        """Whether a training reads masks; None: perhaps."""
        return None if self.supervisions is None else bool(self.supervisions & READ_MASKS)


@dataclass(frozen=True)
class Finding:
    """kind: short and the same for findings of one sort; file; id of an image or annotation, if any."""

    kind: str
    file: str
    text: str
    advice: str
    id: int | str | None = None

    def __str__(self) -> str:
        where = self.file if self.id is None else f"{self.file} (id {self.id})"
        return f"{where}: {self.text}; {self.advice}"


@dataclass
class CheckReport:
    """layout: "coco", "voc", "salient" or "unknown"; counts: what was looked at, by name."""

    root: Path
    layout: str
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def problem(self, kind: str, file: object, text: str, advice: str, id: int | str | None = None) -> None:
        self.problems.append(Finding(kind, str(file), text, advice, id))

    def note(self, kind: str, file: object, text: str, advice: str, id: int | str | None = None) -> None:
        self.notes.append(Finding(kind, str(file), text, advice, id))

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def lines(self) -> list[str]:
        """The report as text: at most SHOWN findings of a kind, then how many more there are."""
        counted = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        lines = [f"{self.root}: {self.layout} layout; {counted or 'nothing counted'}"]
        for title, findings in (("problem", self.problems), ("note", self.notes)):
            kinds: dict[str, list[Finding]] = {}
            for finding in findings:
                kinds.setdefault(finding.kind, []).append(finding)
            for kind, group in kinds.items():
                lines += [f"{title}: {finding}" for finding in group[:SHOWN]]
                if len(group) > SHOWN:
                    lines.append(f"{title}: {len(group) - SHOWN} more of '{kind}'")
        lines.append("ok" if self.ok else f"{len(self.problems)} problem(s)")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def official_count(report: CheckReport, file: Path, images: int, expected: int | None) -> None:
    """Note whether a split has the official number of images; `expected` None: not an official split."""
    if expected is None:
        return
    if images == expected:
        report.note("official", file, f"{images} images, the official count", "nothing to do")
    else:
        text = f"{images} images, where the official set has {expected}"
        advice = "fine for a small run; numbers are not comparable with the papers'"
        report.note("official", file, text, advice)
