"""The reference run: complete tables enter it, the others stay as they are."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.results_folder import make_plan, make_results
from wsis.errors import WsisError
from wsis.flow.reference import by_table, complete, keep_reference
from wsis.report.build import build_report
from wsis.report.collect import COLUMNS, read_metrics
from wsis.report.drawn import Drawings
from wsis.report.recorded import Recorded, measured

OLD = [
    "boxinst,1a,low,3,AP,11.125,20.3,old-1,tiny",
    "boxinst,2,r1,3,AP,12.5,10.0,old-2,tiny",
    "gone,9,x,3,AP,1.0,,old-3,tiny",
]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A reference of an older version, with two tables that there are and one that isn't any more."""
    folder = tmp_path / "reference/tiny"
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text("\n".join([",".join(COLUMNS), *OLD]) + "\n")
    (folder / "masks.json").write_text(json.dumps({"boxinst/1a": 1, "boxinst/2": 2}))
    (folder / "measured.json").write_text(json.dumps({"boxinst/1a": {"commits": ["first"]}}))
    return folder


def test_complete_tables_replace_the_kept_ones_as_a_whole(kept: Path, tmp_path: Path) -> None:
    plan = make_plan()
    make_results(plan, tmp_path)
    other = next(iter(plan.row_runs("boxinst/1a", "low").values()))  # made by another version
    path = tmp_path / "tiny/runs" / other / "environment.json"
    path.write_text(path.read_text().replace('"abc"', '"def"'))
    report = build_report(plan, tmp_path, {}, {})
    assert complete(plan, report, tmp_path, {}) == ["boxinst/2"], "a row of the other table was never run"
    keep_reference(plan, report, tmp_path, {}, Drawings(tmp_path / "drawn"))
    lines = (kept / "metrics.csv").read_text().splitlines()
    assert lines[1] == OLD[0] and "gone" not in lines[-1]
    frame = read_metrics(kept / "metrics.csv")
    second = frame[frame["table"] == "2"]
    assert sorted(second["seed"].unique()) == [3, 5, 8] and len(second) == 12
    assert not second["recipe"].str.startswith("old").any()
    assert json.loads((kept / "masks.json").read_text()) == {"boxinst/1a": 1}
    again = build_report(plan, tmp_path / "nothing", {}, {}, Recorded(kept / "metrics.csv", "tiny"))
    told = measured(by_table(kept / "measured.json"), again)
    assert told == ["boxinst/1a by version first", "boxinst/2 by version abc on a CPU, 2 cores"]


def test_nothing_complete_changes_nothing(kept: Path, tmp_path: Path) -> None:
    plan = make_plan()
    before = {path.name: path.read_text() for path in kept.iterdir()}
    with pytest.raises(WsisError, match="no table has all its rows and seeds"):
        keep_reference(plan, build_report(plan, tmp_path, {}, {}), tmp_path, {}, Drawings(tmp_path / "drawn"))
    assert {path.name: path.read_text() for path in kept.iterdir()} == before


def test_tables_of_which_nothing_is_told_are_others(kept: Path, tmp_path: Path) -> None:
    plan = make_plan()
    make_results(plan, tmp_path)
    told = measured({"boxinst/2": {"commits": ["a", "b"]}}, build_report(plan, tmp_path, {}, {}))
    assert told == ["boxinst/2 by version a, b", "all others by former versions"]
    assert measured({}, build_report(plan, tmp_path, {}, {})) == []


def keep(plan, tmp_path, **settings) -> None:
    plan = replace(plan, **settings)
    keep_reference(plan, build_report(plan, tmp_path, {}, {}), tmp_path, {}, Drawings(tmp_path / "drawn"))


@pytest.mark.parametrize("fewer", ["seeds", "metrics", "not evaluated"])
def test_a_table_that_lacks_something_does_not_replace_the_kept_one(
    kept: Path, tmp_path: Path, fewer
) -> None:
    plan = make_plan()
    make_results(plan, tmp_path)
    run = next(iter(plan.row_runs("boxinst/2", "r1").values()))
    if fewer == "seeds":
        more = [f"boxinst,2,r1,{seed},AP,12.5,10.0,old-{seed},tiny" for seed in range(10, 13)]
        (kept / "metrics.csv").write_text("\n".join([",".join(COLUMNS), *OLD, *more]) + "\n")
    elif fewer == "metrics":
        path = tmp_path / "tiny/runs" / run / "metrics.json"
        path.write_text(path.read_text().replace('"AP"', '"AR"'))
    else:
        (tmp_path / "tiny/runs" / run / "metrics.json").unlink()
    before = (kept / "metrics.csv").read_text()
    with pytest.raises(WsisError, match="no table has all its rows and seeds"):
        keep(plan, tmp_path)
    assert (kept / "metrics.csv").read_text() == before


def test_other_recipes_than_the_declared_ones_are_refused(kept: Path, tmp_path: Path) -> None:
    plan = make_plan()
    make_results(plan, tmp_path)
    with pytest.raises(WsisError, match="report without --set"):
        keep(plan, tmp_path, overrides={"schedule.lr": 0.02})


@pytest.mark.parametrize(
    "name, content",
    [
        ("metrics.csv", b""),
        ("metrics.csv", b"\xff\xfe\x00"),
        ("metrics.csv", ",".join(COLUMNS).encode() + b"\nboxinst,1a,low\n"),
        ("metrics.csv", ",".join(COLUMNS).encode() + b"\nboxinst,1a,low,x,AP,1,,old-1,tiny\n"),
        ("metrics.csv", None),
        ("measured.json", b"[]"),
        ("measured.json", b'""'),
        ("masks.json", b"null"),
        ("masks.json", b"{"),
    ],
)
def test_a_damaged_reference_is_told_and_left(kept: Path, tmp_path: Path, name, content) -> None:
    plan = make_plan()
    make_results(plan, tmp_path)
    path = kept / name
    path.unlink(missing_ok=True)
    path.mkdir() if content is None else path.write_bytes(content)
    before = {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()}
    with pytest.raises(WsisError, match=f"^{re.escape(str(path))}: "):
        keep(plan, tmp_path)
    assert {path.name: path.read_bytes() for path in kept.iterdir() if path.is_file()} == before
