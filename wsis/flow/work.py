"""What a target of the workflow still needs: its tables, the jobs that train, evaluate and measure.

What is finished stands in no job, so that another target, which groups runs in another way, trains nothing
again. A job's output is a mark, results/<scale>/jobs/<kind>/<id>.done: what runs write is nobody's output,
and no scheduler deletes it. Snakemake starts anew for every job on a cluster, when more is finished: the jobs
that the workflow began with are kept in results/<scale>/jobs.json.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from wsis.data.places import shapes_root
from wsis.declare.load import load_figures
from wsis.errors import WsisError, nearest_first
from wsis.files import read_json, write_json
from wsis.finished import METRICS, RECORD, lacking, metrics_of, proxies_there
from wsis.flow.classes import Class, classes
from wsis.measures.wanted import Measuring, todo
from wsis.packing import Job, pack, table_ranks
from wsis.plan import Plan
from wsis.records import complaint
from wsis.report.rendered import whole
from wsis.results.naming import table_of

HEADLINE = "headline"  # the target when none is named
JOBS = "jobs.json"


@dataclass(frozen=True)
class Work:
    """Keys of tables in the order in which they become complete, and the processes to be started for them."""

    tables: tuple[str, ...]
    trainings: tuple[Job, ...]
    evaluations: tuple[Job, ...]
    measurings: tuple[Measuring, ...]
    classes: tuple[Class, ...] = ()  # of the trainings

    def on(self, plan: Plan, gpus: int, nodes: int = 1) -> Work:
        """The same work with its trainings in classes, on up to `gpus` cards of `nodes` machines each."""
        return replace(self, classes=tuple(classes(plan, self.trainings, gpus, nodes)))


def mark(folder: Path, kind: str, job: str) -> Path:
    """The file that says that a job is done. kind: train, evaluate or measure; folder: results/<scale>."""
    return folder / "jobs" / kind / f"{job}.done"


def unmark(work: Work, folder: Path, page: Path) -> None:
    """Remove marks of jobs that are to be done: of a time before their results were lost or became old.

    page: of the report, whose marks go where it, or what is written with it, was lost or damaged since
    """
    kinds = {"train": work.trainings, "evaluate": work.evaluations, "measure": work.measurings}
    for kind, jobs in kinds.items():
        for job in jobs:
            mark(folder, kind, job.id).unlink(missing_ok=True)
    if not whole(folder, page):
        for path in (folder / "rendered").glob("*"):
            path.unlink()


def targets(plan: Plan) -> dict[str, list[str]]:
    """Target -> keys of its tables: headline, all, a figure (none), a paper, a table (boxinst_1a)."""
    tables = {
        HEADLINE: [key for key, table in plan.tables.items() if table.headline],
        "all": list(plan.tables),
        **{figure: [] for figure in figures(plan)},
    }
    for key, table in plan.tables.items():
        tables.setdefault(table.paper, []).append(key)
        tables[f"{table.paper}_{table.table}"] = [key]
    return tables


def figures(plan: Plan) -> list[str]:
    """The targets that are figures."""
    return [f"figure{figure.figure}" for figure in load_figures(plan.root).values()]


def tables_of(plan: Plan, names: Iterable[str]) -> list[str]:
    """The tables of targets, in the papers' order; all for a name that is none, such as a file."""
    there = targets(plan)
    wanted = {key for name in names for key in there.get(name, plan.tables)}
    return [key for key in plan.tables if key in wanted]


def named_tables(plan: Plan, names: Iterable[str]) -> list[str]:
    """Keys of the tables that targets and tables' names stand for, in the papers' order; else WsisError."""
    there, wanted = targets(plan), set()
    for name in names:
        key = table_of(name, plan.tables)
        if key is None and name not in there:
            nearest = ", ".join(nearest_first(name, [*plan.tables, *there]).split(", ")[:4])
            raise WsisError(f"no table or target '{name}' (the nearest are: {nearest})")
        wanted |= {key} if key else {*there[name]}
    return [key for key in plan.tables if key in wanted]


def work(plan: Plan, tables: Sequence[str], results: Path, cores: int = 1, anew: bool = False) -> Work:
    """The jobs that `tables` need beyond what results/<scale> holds. anew: as if that were empty."""
    folder = results / plan.scale.name / "runs"
    shown = plan.wanted(list(tables))
    trained = set() if anew else finished(plan, plan.with_needed(shown), folder)
    trainings = pack(plan, tables, trained, cores)
    measured = {run for run in shown if run in trained and evaluated(folder / run)}
    evaluations = []
    for job in trainings:
        if runs := tuple(run for run in job.runs if run in shown):
            evaluations.append(Job(job.id, runs, (), job.data, job.rank))
    left = [run for run in shown if run in trained and run not in measured]
    ranks = table_ranks(plan, tables)
    for data in dict.fromkeys(shapes_root(plan.runs[run].recipe) for run in left):
        runs = tuple(run for run in left if shapes_root(plan.runs[run].recipe) == data)
        evaluations.append(Job(f"{runs[0]}-trained-{len(runs)}", runs, (), data, ranks[runs[0]]))
    measurings = todo(plan, tables, folder.parent, None if anew else trained)
    return Work(tuple(tables), tuple(trainings), tuple(evaluations), tuple(measurings))


def finished(plan: Plan, runs: Collection[str], folder: Path) -> set[str]:
    """Those of `runs` that need no training: they are whole (`lacking`), and none that they need is newer.

    One whose masks another of them is still to learn must have these as well. runs: parents first. folder:
    results/<scale>/runs. Says on stderr which were trained with other settings, and what is damaged.
    """
    when: dict[str, float] = {}
    differing: dict[str, list[str]] = {}  # how settings differ, or what is damaged -> runs
    for run in runs:
        path = folder / run / RECORD
        needs = plan.runs[run].needs
        if not path.exists() or any(need not in when for need in needs):
            continue
        if text := lacking(folder / run, plan.runs[run].recipe, plan.predicts(run)):
            differing.setdefault(text, []).append(run)
            continue
        if all(when[need] <= path.stat().st_mtime for need in needs):
            when[run] = path.stat().st_mtime
    again = {run for run in _wanted_masks(plan, runs, when) if not proxies_there(folder / run)}
    for run in runs if again else ():
        if run in again or any(need not in when for need in plan.runs[run].needs):
            when.pop(run, None)
    for text, others in differing.items():
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        print(f"{others[0]}{more}: {text}: not finished", file=sys.stderr)
    return set(when)


def _wanted_masks(plan: Plan, runs: Collection[str], done: Collection[str]) -> set[str]:
    """The finished runs whose proxy masks another one of `runs` is still to learn."""
    todo = [plan.runs[run].recipe.proxy for run in runs if run not in done]
    return {proxy.parent for proxy in todo if proxy} & {*done}


def evaluated(folder: Path) -> bool:
    """Whether a trained run was evaluated since, and its metrics are whole. What is wrong goes to stderr."""
    path, record = folder / METRICS, folder / RECORD
    if not (path.exists() and record.exists()) or path.stat().st_mtime < record.stat().st_mtime:
        return False
    try:
        return bool(metrics_of(folder))
    except WsisError as error:
        print(f"{error}: evaluated again", file=sys.stderr)
        return False


def write_work(work: Work, folder: Path) -> None:
    """Keep `work` in folder/jobs.json for the processes of its jobs."""
    write_json(folder / JOBS, asdict(work))


def read_work(folder: Path) -> Work:
    """What `write_work` kept; WsisError where there is nothing, or nothing whole."""
    path = folder / JOBS
    advice = "start the workflow with snakemake or make reproduce"
    if not path.exists():
        raise WsisError(f"no {path}: {advice}")
    try:
        return TypeAdapter(Work).validate_python(read_json(path))
    except ValidationError as error:
        raise WsisError(f"{path}: {complaint(error)}; {advice}") from None
