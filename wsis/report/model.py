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

Verdict = Literal["reproduced", "contradicted", "inconclusive", "untestable", "not run"]
VERDICTS: tuple[Verdict, ...] = ("reproduced", "contradicted", "inconclusive", "untestable", "not run")


@dataclass
class Effect:
    """A row's difference to the reference row of its table, paired by seed.

    mean, interval  measured, and its 95 % interval; None where the two rows share no seed, the interval alone
                    where they share one
    n               seeds that both have
    published       the printed difference; None where one of the numbers is not printed
    same            both rows are the same runs: there is nothing to compare
    """

    mean: float | None = None
    interval: Interval | None = None
    n: int = 0
    published: float | None = None
    same: bool = False


@dataclass
class Evidence:
    """A comparison that a test decides, and what tells how many seeds it takes.

    spread     standard deviation of the paired differences, moderated as for the verdict
    freedom    degrees of freedom that the paper's other differences lend
    mean       measured difference; published: the printed one, or None
    floor, by  the claim fails below `floor` and holds above `by`; `within`: it holds inside of +- within
    """

    pair: str
    n: int
    spread: float
    freedom: float
    mean: float
    published: float | None
    floor: float
    by: float
    within: float | None


@dataclass
class Decision:
    """What would decide an inconclusive claim.

    resolves  the smallest difference that n seeds tell from the margin with a power of 80 %
    seeds     seeds wanted for that power if the effect is the published one; None where it can't be told from
              the margin, or wants more than anyone runs (`wsis.report.power.MOST`)
    observed  the same if the effect is the measured one
    wanted    the seeds to run: `seeds`, or `observed` where there are as many already; None: neither helps
    hours     device-hours of the seeds that are missing; command: what runs them
    """

    pair: str
    n: int
    resolves: float
    seeds: int | None
    observed: int | None
    wanted: int | None = None
    hours: float | None = None
    command: str | None = None


@dataclass
class CellResult:
    """One cell of a table: one metric of one row.

    published  the number as the paper prints it, None where it prints none
    interval   [low, high) that its rounding means: 30.7 is (30.65, 30.75); None without a published number
    values     seed -> measured value, seeds ascending; empty when nothing was measured
    reason     why there is no measurement, with the command that makes one; None when there is one
    meant      whether the row should have a number; False: the row has none by its nature
    undefined  it was measured and has no value, such as the AP of large objects where there are none
    leads      the best of its column, and every difference to the others is outside the noise
    effect     the difference to the table's reference row; None for that row, and where nothing is shared
    stale      a run behind a value was trained by code that has changed since
    source     where its weights come from if they were not trained here: "official checkpoint"
    runs       seed -> run id, for measured and not yet measured seeds alike; empty for quoted rows
    """

    published: float | None = None
    interval: Interval | None = None
    values: dict[int, float] = field(default_factory=dict)
    reason: str | None = None
    meant: bool = True
    undefined: bool = False
    leads: bool = False
    effect: Effect | None = None
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
    verdict    of this claim alone, on the measured numbers: inconclusive means inside the noise, or a single
               seed; untestable: the rows are the same runs, or equal in every seed
    corrected  the verdict among all claims of the scale, at a false discovery rate of 5 %
    published  whether the paper's own printed numbers satisfy it; None where rounding or a missing cell
               leaves it open
    detail     the numbers behind the verdict, in words
    n          number of seeds compared (the fewest of all pairs)
    edge       whether leaving out a seed, or a small shift, would change the verdict; the detail says which
    chance     its two-sided p; None where no test decides
    q          the smallest false discovery rate at which it is decided; None without p
    tested     the comparisons that a test decides; of an inconclusive claim, those inside the noise
    places     (table key, row label) of the rows compared
    decision   what would decide an inconclusive claim
    """

    claim: Claim
    table: str
    verdict: Verdict
    published: bool | None
    detail: str
    n: int
    edge: bool = False
    chance: float | None = None
    tested: list[Evidence] = field(default_factory=list)
    places: tuple[tuple[str, str], ...] = ()
    corrected: Verdict | None = None
    q: float | None = None
    decision: Decision | None = None

    @property
    def final(self) -> Verdict:
        """The verdict to show: the corrected one, where claims were corrected."""
        return self.corrected or self.verdict


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
class Ran:
    """What the rows of a table were trained and evaluated on, in words.

    data   root, classes, images and split
    own    the data are the user's: its classes are not those of the table's data set, so no printed number is
           about them
    nets   the stand-in that trained -> labels of the rows where it stood in for the paper's backbone
    """

    data: str
    own: bool = False
    nets: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class TableResult:
    """A table with its measured cells, keyed by (row label, metric): every row and column has one.

    ran: what was run; None where nothing was
    """

    table: Table
    cells: dict[tuple[str, str], CellResult] = field(default_factory=dict)
    claims: list[ClaimResult] = field(default_factory=list)
    trend: Trend | None = None
    errata: list[Erratum] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)
    ran: Ran | None = None

    @property
    def own_data(self) -> bool:
        return self.ran is not None and self.ran.own


@dataclass
class FigureResult:
    """A figure with the curves measured for it; `reason` says why `measured` is empty, else None."""

    figure: Figure
    measured: list[Curve] = field(default_factory=list)
    reason: str | None = None


@dataclass
class Live:
    """What was being trained when the report was made.

    at        '29 November, 18:05'
    training  a line a run: where it is shown, and how far it is
    rows      'finished of all' rows of what the workflow makes; '' where no workflow runs
    until     when it should be done, in words; '' where nothing tells
    """

    at: str
    training: list[str]
    rows: str = ""
    until: str = ""


@dataclass
class Report:
    """All of one scale.

    errata      paper -> all its errata
    provenance  {"versions": {package: version}, "commits": [str], "hardware": [str], "seeds": [int],
                "runs": finished runs, "planned": runs in the plan, "seconds": training seconds summed,
                "data": [str]}
    runs        run id -> content of its train.json, finished runs only
    refused     run id, or <set>/<key> of a measurement -> why its numbers are left out
    live        what was being trained; None where nothing was
    """

    scale: str
    seeds: tuple[int, ...]
    tables: list[TableResult] = field(default_factory=list)
    figures: list[FigureResult] = field(default_factory=list)
    errata: dict[str, list[Erratum]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    live: Live | None = None
