"""The reference run: what is kept of it, table by table, and its page.

results/reference/<scale>/ has metrics.csv, claims.json, masks.json (of the papers' cards), measures/ and
measured.json, which says by which version of the code and where each table was measured.
"""

from __future__ import annotations

import csv
import os
import shutil
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from wsis.disk import writing
from wsis.errors import WsisError
from wsis.files import read_json, remove_left, temporary_of, write_json
from wsis.finished import METRICS
from wsis.plan import Plan, make_plan
from wsis.records import read_record, sound

if TYPE_CHECKING:
    from wsis.report.drawn import Drawings
    from wsis.report.model import Report


def keep_reference(
    plan: Plan, report: Report, results: Path, roots: Mapping[str, Path], drawings: Drawings
) -> None:
    """Make the tables that were run completely part of the reference; its other tables stay as they are.

    roots: run id -> root of its images. Raises WsisError, before anything is written, where no table is
    complete, where recipes are not the declared ones, and for a damaged file of the reference.
    """
    from wsis.report.collect import metric_lines, write_lines
    from wsis.report.mask_panels import faces

    kept = results / "reference" / plan.scale.name
    if plan.overrides:
        raise WsisError("the reference has the recipes as they are declared: report without --set")
    former = _lines(kept / "metrics.csv", plan.scale.name)
    for name in ("masks.json", "measured.json"):
        by_table(kept / name)
    new = complete(plan, report, results, Counter((_key(line), line[2], line[4]) for line in former))
    if not new:
        raise WsisError("no table has all its rows and seeds, so the reference stays as it is")
    print(f"the reference has new numbers of {', '.join(new)}", file=sys.stderr)
    place = {key: number for number, key in enumerate(plan.tables)}
    lines = [line for line in metric_lines(report) if _key(line) in new]
    lines += [line for line in former if _key(line) in place and _key(line) not in new]
    write_lines(sorted(lines, key=lambda line: place[_key(line)]), kept / "metrics.csv")
    made = {key: panel for key, panel in faces(report, results, roots, drawings).items() if key in new}
    _update(kept / "masks.json", made, new)
    _update(kept / "measured.json", {key: _measured_by(plan, key, results) for key in new}, new)
    folder = results / plan.scale.name
    for path in folder.glob("measures/colour-affinity/*.json"):
        copy_file(path, kept / path.relative_to(folder))


def _measured_by(plan: Plan, table: str, results: Path) -> dict[str, list[str]]:
    """Versions of the code and machines behind a table's runs."""
    from wsis.report.build import made_by

    runs = (results / plan.scale.name / "runs" / run for run in plan.wanted([table]))
    files = [folder / "environment.json" for folder in runs]
    return made_by(read_record(file) for file in files if sound(file))


def complete(
    plan: Plan, report: Report, results: Path, former: Mapping[tuple[str, str, str], int]
) -> list[str]:
    """Keys of the tables whose rows have all that the scale runs of them, and all that the reference has.

    former: how many seeds the reference has of a table, row and metric
    """
    keys = []
    for result in report.tables:
        key, cells, folder = result.table.key, result.cells, results / plan.scale.name / "runs"
        rows = {row.label: plan.row_runs(key, row.label) for row in result.table.rows}
        rows = {label: runs for label, runs in rows.items() if runs}
        whole = all(
            len(runs) == max(cells[label, metric].n for metric in result.table.metrics)
            and all(sound(folder / run / METRICS, run) for run in runs.values())
            for label, runs in rows.items()
        )
        if rows and whole and all(cell.n >= former.get((key, *place), 0) for place, cell in cells.items()):
            keys.append(key)
    return keys


def _key(line: Sequence[object]) -> str:
    return f"{line[0]}/{line[1]}"


def _lines(path: Path, scale: str) -> list[list[str]]:
    """The lines of a metrics.csv as they stand there; none where there is no such file."""
    from wsis.report.recorded import Recorded

    if not path.exists():
        return []
    Recorded(path, scale)  # refuses what is damaged
    with path.open(encoding="utf-8", newline="") as file:
        return [*csv.reader(file)][1:]


def _update(path: Path, made: Mapping[str, object], new: Collection[str]) -> None:
    """Replace what a JSON file says of the `new` tables."""
    old = {key: value for key, value in by_table(path).items() if key not in new}
    write_json(path, old | dict(made))


def by_table(path: Path) -> dict[str, Any]:
    """What a file of the reference says by table; nothing where there is no such file."""
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise WsisError(f"{path}: expected an object by table, got {type(content).__name__}")
    return content


def render_reference(scale: str, results: Path, reports: Path) -> Path:
    """results/reference/<scale>/ -> its claims.json, and reports/reference/<scale>/ with its page.

    It needs no run: what is kept there is all it reads. Times are the scale's nominal ones, not this
    machine's, so that the page is the same anywhere. Returns the path of index.html.
    """
    from wsis.report.build import build_report
    from wsis.report.diff import write_claims, write_diff
    from wsis.report.mask_panels import read_faces
    from wsis.report.recorded import Recorded, measured
    from wsis.report.render import render_report

    plan = make_plan(scale)
    kept, out = results / "reference" / scale, reports / "reference" / scale
    report = build_report(plan, kept.parent, recorded=Recorded(kept / "metrics.csv", scale))
    report.provenance |= {"measured": measured(by_table(kept / "measured.json"), report)}
    write_claims(report, kept / "claims.json")
    with TemporaryDirectory() as folder:
        made = Path(folder)
        render_report(report, kept.parent, made, panels=read_faces(kept / "masks.json"))
        write_diff(report, made / "diff.json")
        tables = {r.table.key for r in report.tables if any(cell.n for cell in r.cells.values())}
        with writing(out):
            _copy_rendered(made, out, tables)
    return out / "index.html"


def _copy_rendered(source: Path, target: Path, tables: set[str]) -> None:
    """The page, its pictures, diff.json, figures and these tables' files, in place of what was there."""
    new = temporary_of(target)
    remove_left(target)
    for path in sorted(source.rglob("*")):
        key = f"{path.parent.name}/{path.stem.removeprefix('table')}"
        wanted = key in tables and path.suffix in (".md", ".csv", ".tex", ".png")
        wanted = wanted or path.parent.name == "pictures" or path.stem.startswith("figure")
        if wanted or path.name in ("diff.json", "index.html", "agreement.png"):
            copy_file(path, new / path.relative_to(source))
    shutil.rmtree(target, ignore_errors=True)
    os.replace(new, target)


def copy_file(path: Path, copy: Path) -> None:
    """Copy a file; missing parent folders are made."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)
