"""What a report holds: the published and the measured numbers of every table, and what they say.

Everything here is filled by `wsis.report.build.build_report`; rendering and `wsis.report.diff` only read
it. Numbers stay numbers: percentages in per cent, NaN never appears (an undefined number is absent).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from wsis.declare.table import Claim, Curve, Erratum, Figure, Table
from wsis.report.stats import Interval, mean, sample_std

Verdict = Literal["reproduced", "contradicted", "inconclusive", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "contradicted", "inconclusive", "not run")


@dataclass
class CellResult:
    """One cell of a table: one metric of one row.

    published  the number as the paper prints it, None where it prints none
    interval   [low, high) that its rounding means: 30.7 is (30.65, 30.75); None without a published number
    values     seed -> measured value, seeds ascending; empty when nothing was measured
    reason     why there is no measurement, with the command that makes one; None when there is one
    meant      whether the row should have a number; False: the row has none by its nature
    stale      a run behind a value was trained by code that has changed since
    source     where its weights come from if they were not trained here: "official checkpoint"
    runs       seed -> run id, for measured and not yet measured seeds alike; empty for quoted rows
    """

    published: float | None = None
    interval: Interval | None = None
    values: dict[int, float] = field(default_factory=dict)
    reason: str | None = None
    meant: bool = True
    stale: bool = False
    source: str | None = None
    runs: dict[int, str] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """Number of seeds measured."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean over seeds; None when nothing was measured."""
        return mean(self.values.values())

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1) over seeds; None below two seeds."""
        return sample_std(self.values.values())

    @property
    def decimals(self) -> int:
        """Decimals the paper prints in this column, read off the interval's width; 1 without an interval."""
        if self.interval is None:
            return 1
        return max(0, -round(math.log10(self.interval[1] - self.interval[0])))

    @property
    def difference(self) -> float | None:
        """Measured mean minus published number; None unless both exist."""
        if self.published is None or self.mean is None:
            return None
        return self.mean - self.published


@dataclass
class ClaimResult:
    """A claim and how it came out.

    table      key of the table that declares it, '<paper>/<table>'
    verdict    on the measured numbers: inconclusive means inside the noise, or a single seed
    published  whether the paper's own printed numbers satisfy it; None where rounding or a missing cell
               leaves it open
    detail     the numbers behind the verdict, in words
    n          number of seeds compared (the fewest of all pairs)
    edge       whether leaving out a seed, or a small shift, would change the verdict; the detail says which
    """

    claim: Claim
    table: str
    verdict: Verdict
    published: bool | None
    detail: str
    n: int
    edge: bool = False


@dataclass
class Trend:
    """Whether measured rows are ordered as the published ones are, over trained rows that have both.

    tau_b           Kendall's tau-b; None below four rows, or where one side is constant
    n               number of rows compared
    metric          the column compared: the table's first AP-like one
    best_published  label of the row with the highest published number
    best_measured   label of the row with the highest measured mean
    """

    tau_b: float | None
    n: int
    metric: str
    best_published: str
    best_measured: str


@dataclass
class TableResult:
    """A table with its measured cells, keyed by (row label, metric): every row and column has one."""

    table: Table
    cells: dict[tuple[str, str], CellResult] = field(default_factory=dict)
    claims: list[ClaimResult] = field(default_factory=list)
    trend: Trend | None = None
    errata: list[Erratum] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)


@dataclass
class FigureResult:
    """A figure with the curves measured for it; `reason` says why `measured` is empty, else None."""

    figure: Figure
    measured: list[Curve] = field(default_factory=list)
    reason: str | None = None


@dataclass
class Report:
    """All of one scale.

    errata      paper -> all its errata
    provenance  {"versions": {package: version}, "commits": [str], "hardware": [str], "seeds": [int],
                "runs": finished runs, "planned": runs in the plan, "seconds": training seconds summed,
                "data": [str]}
    runs        run id -> content of its train.json, finished runs only
    """

    scale: str
    seeds: tuple[int, ...]
    tables: list[TableResult] = field(default_factory=list)
    figures: list[FigureResult] = field(default_factory=list)
    errata: dict[str, list[Erratum]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
