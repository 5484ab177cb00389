"""What the page shows, in its order: a card a paper, tables, claims, errata, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsis.declare.paper import Face
from wsis.declare.table import Erratum
from wsis.report.drawn import Panel, Plot, Strip
from wsis.report.model import VERDICTS, ClaimResult, FigureResult, Report, TableResult, Verdict
from wsis.report.pictures import Pictures
from wsis.report.view import PAPER_TITLES, TableView, scale_caption

MARKS = {"reproduced": "✓", "contradicted": "✗", "inconclusive": "≈", "untestable": "=", "not run": "·"}
# Verdicts in words. On the user's own data a paper's sentence is neither reproduced nor contradicted.
NAMED = {verdict: str(verdict) for verdict in VERDICTS}
OF_OWN = NAMED | {"reproduced": "holds here", "contradicted": "fails here"}
SETTLED = 12  # claims in the list of the cheapest


@dataclass
class Section:
    """A table on the page."""

    result: TableResult
    view: TableView
    plot: Plot | None = None
    curves: Plot | None = None
    masks: Panel | None = None
    seed: int | None = None  # whose masks are shown
    pictures: list[Pictures] = field(default_factory=list)  # of runs that no table above shows


@dataclass
class FigureSection:
    """A figure on the page."""

    result: FigureResult
    plot: Plot | None

    @property
    def name(self) -> str:
        return f"{PAPER_TITLES[self.result.figure.paper]}, Figure {self.result.figure.figure}"

    @property
    def anchor(self) -> str:
        return f"{self.result.figure.paper}-figure-{self.result.figure.figure}"


@dataclass
class Paper:
    """A paper's card and its part of the page: what was measured first, then what was not."""

    key: str
    title: str
    face: Face | None = None
    measured: list[Section] = field(default_factory=list)
    unrun: list[Section] = field(default_factory=list)
    figures: list[FigureSection] = field(default_factory=list)
    errata: list[Erratum] = field(default_factory=list)
    plot: Plot | None = None  # the card's

    @property
    def counts(self) -> dict[Verdict, int]:
        return counted([claim for section in self._sections for claim in section.result.claims])

    @property
    def tested(self) -> str:
        """What was and what was not, in words."""
        trained = [row for section in self._sections for row in section.view.trained]
        ran = sum(row.measured for row in trained)
        text = f"Tested: {ran} of {len(trained)} trained rows"
        if self.measured:
            text += f", in {_tables(self.measured)}"
        return f"{text}. Not tested: {_tables(self.unrun)}." if self.unrun else f"{text}."

    @property
    def picture_of(self) -> TableView | None:
        """The table whose masks stand on the card."""
        section = self._of(self.face.masks) if self.face else None
        return section.view if section else None

    @property
    def plot_of(self) -> TableView | None:
        section = self._of(self.face.plot) if self.face else None
        return section.view if section else None

    @property
    def picture(self) -> Panel | None:
        section = self._of(self.face.masks) if self.face else None
        return section.masks if section and self.strips else None

    @property
    def strips(self) -> list[Strip]:
        """The card's rows of masks."""
        section = self._of(self.face.masks) if self.face else None
        if section is None or section.masks is None:
            return []
        return [strip for strip in section.masks.rows if strip.label in self.face.rows]

    @property
    def seed(self) -> int | None:
        section = self._of(self.face.masks) if self.face else None
        return section.seed if section else None

    @property
    def _sections(self) -> list[Section]:
        return [*self.measured, *self.unrun]

    def _of(self, number: str) -> Section | None:
        return next((section for section in self.measured if section.result.table.table == number), None)


def _tables(sections: list[Section]) -> str:
    numbers = [section.result.table.table for section in sections]
    return f"Table{'' if len(numbers) == 1 else 's'} {', '.join(numbers)}"


def counted(claims: list[ClaimResult]) -> dict[Verdict, int]:
    """Verdict -> claims that have it, in the order of VERDICTS."""
    counts = Counter(claim.final for claim in claims)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def context(report: Report, papers: list[Paper], files: tuple[str, ...]) -> dict[str, Any]:
    """All that the template of the page reads. files: endings of the tables' files that it links."""
    claims = [claim for result in report.tables for claim in result.claims]
    sections = [section for paper in papers for section in (*paper.measured, *paper.unrun)]
    trained = [row for section in sections for row in section.view.trained]
    priced = [c for c in claims if c.decision and c.decision.hours is not None]
    most = max((cell.n for result in report.tables for cell in result.cells.values()), default=0)
    views: Mapping[str, TableView] = {section.result.table.key: section.view for section in sections}
    own = next((r.ran.data for r in report.tables if r.ran and r.own_data), "")
    return {
        "report": report,
        "own": own,
        "named": OF_OWN if own else NAMED,
        "papers": [p for p in papers if p.measured or p.unrun or p.figures],
        "groups": [(views[r.table.key], r.claims) for r in report.tables if r.claims],
        "counts": counted(claims),
        "judged": sum(claim.final != "not run" for claim in claims),
        "edge": sum(claim.edge for claim in claims),
        "changed": sum(claim.final != claim.verdict for claim in claims),
        "settle": sorted(priced, key=lambda claim: claim.decision.hours)[:SETTLED],
        "marks": MARKS,
        "views": views,
        "paper_titles": PAPER_TITLES,
        "scale_caption": scale_caption(report.scale),
        "measured_rows": sum(row.measured for row in trained),
        "trained_rows": len(trained),
        "seeds": "1 seed a row" if most <= 1 else f"up to {most} seeds a row",
        "files": files,
    }
