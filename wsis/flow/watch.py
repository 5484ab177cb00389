"""What a running workflow has come to, read from its results: finished rows, complete tables, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsis.errors import WsisError
from wsis.files import read_json
from wsis.finished import metrics_of
from wsis.flow.estimate import spoken
from wsis.flow.work import Work
from wsis.plan import Plan, protocol_of
from wsis.report.model import VERDICTS

PRIOR = 0.1  # weight of the estimate, as a share of the whole, against the time that was really taken


@dataclass(frozen=True)
class Shown:
    """A run as the report shows it: in the first of the wanted tables that has it."""

    table: str
    row: str
    seed: int

    def __str__(self) -> str:
        return f"{self.table}  {self.row}  seed {self.seed}"


def shown_runs(plan: Plan, tables: tuple[str, ...]) -> dict[str, Shown]:
    """Run -> where it is shown first; every run of `plan.wanted(tables)`."""
    shown: dict[str, Shown] = {}
    for run, (key, label, seed) in plan.shown(tables).items():
        last = run == plan.row_runs(key, label)[seed]
        shown[run] = Shown(key, label if last else f"{label}, first stage", seed)
    return shown


def _counted(counts: Mapping[str, int]) -> str:
    """'9 reproduced, 4 inconclusive'; '' where nothing was judged."""
    return ", ".join(f"{counts[v]} {v}" for v in VERDICTS if v != "not run" and counts.get(v))


class Watch:
    """Tells what is new since it was asked last; a few dozen looks at file times each time.

    work: what was left to do when the workflow began. seconds: its estimate, None for a machine unknown.
    reports: the folder in which it writes its reports.
    """

    def __init__(
        self,
        plan: Plan,
        work: Work,
        results: Path,
        seconds: float | None = None,
        reports: Path = Path("reports"),
    ) -> None:
        self.plan, self.folder, self.seconds = plan, results / plan.scale.name, seconds
        self.reports = reports
        self.shown = shown_runs(plan, work.tables)
        due = {run for job in work.evaluations for run in job.runs} & {*self.shown}
        training = [run for job in work.trainings for run in job.runs]
        self.done = len(self.shown) - len(due)
        self.rows = self._times("runs/{}/metrics.json", [run for run in self.shown if run in due])
        self.training = self._times("runs/{}/train.json", training)
        self.marks = self._times("rendered/{}", [key.replace("/", "_") for key in work.tables])
        self.whole = sum(plan.runs[run].device_hours for run in self.training)

    def news(self, elapsed: float) -> Iterator[str]:
        """A line for every row that was finished and every table that was rendered since the last call."""
        self._written("runs/{}/train.json", self.training)
        for run in self._written("runs/{}/metrics.json", self.rows):
            self.done += 1
            yield f"{self.shown[run]}  {self.number(run)}   {self.progress(elapsed)}"
        for mark in self._written("rendered/{}", self.marks):
            table = mark.replace("_", "/", 1)
            yield f"{table} complete: {self.verdicts(table)}reports/{self.plan.scale.name}/index.html"

    def verdicts(self, table: str) -> str:
        """'2 claims reproduced; so far 9 reproduced, 4 inconclusive: ', of the last report.

        Nothing where there is none, or one of a former version.
        """
        try:
            diff = read_json(self.reports / self.plan.scale.name / "diff.json")
            tables = {f"{each['paper']}/{each['table']}": each["claims"] for each in diff["tables"]}
            own = Counter(claim["corrected"] for claim in tables.get(table, ()))
            texts = [_counted(counts) for counts in (own, diff["claims"])]
        except (WsisError, KeyError, TypeError):
            return ""
        first = texts[0].replace(" ", " claims ", 1) if texts[0] else "no claim judged"
        return f"{first}; so far {texts[1]}: " if texts[1] else ""

    def progress(self, elapsed: float) -> str:
        """'12 of 96 rows, about 11 min left'."""
        left = self.left(elapsed)
        text = f"{self.done} of {len(self.shown)} rows"
        if not self.rows:
            return f"{text}, the report is next"
        return text if left is None else f"{text}, about {spoken(left)} left"

    def left(self, elapsed: float) -> float | None:
        """Seconds: the estimate of what is left, corrected by how long the rest took; None without one."""
        if self.seconds is None:
            return None
        todo = sum(self.plan.runs[run].device_hours for run in self.training)
        share = 1 - todo / self.whole if self.whole else self.done / max(len(self.shown), 1)
        pace = (elapsed + PRIOR * self.seconds) / ((share + PRIOR) * self.seconds) if self.seconds else 1.0
        return (1 - share) * self.seconds * pace

    def number(self, run: str) -> str:
        """The first metric of the run's table that it has: 'AP 41.2'."""
        try:
            content = metrics_of(self.folder / "runs" / run)
        except WsisError:
            return "no number"
        under = {content.get("protocol"): content, **content.get("also", {})}
        table = self.plan.tables[self.shown[run].table]
        for metric in table.columns:
            value = under.get(protocol_of(metric, table.protocol), content)["metrics"].get(metric)
            if value is not None:
                return f"{metric} {value:.1f}"
        return "no number"

    def _times(self, name: str, keys: Iterable[str]) -> dict[str, int | None]:
        """When the file of each key was written, None where there is none."""
        return {key: self._time(name.format(key)) for key in keys}

    def _written(self, name: str, before: dict[str, int | None]) -> list[str]:
        """The keys whose file is newer than it was; they leave `before`."""
        now = self._times(name, before)
        new = [key for key, time in now.items() if time is not None and time != before[key]]
        for key in new:
            del before[key]
        return new

    def _time(self, name: str) -> int | None:
        try:
            return (self.folder / name).stat().st_mtime_ns
        except OSError:
            return None
