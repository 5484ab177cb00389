"""The reference run: complete tables enter it, the others stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.report.results_folder import make_plan, make_results
from wsis.errors import WsisError
from wsis.flow.reference import complete, keep_reference
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
    assert complete(plan, report) == ["boxinst/2"], "a row of the other table was never run"
    keep_reference(plan, report, tmp_path, {}, Drawings(tmp_path / "drawn"))
    lines = (kept / "metrics.csv").read_text().splitlines()
    assert lines[1] == OLD[0] and "gone" not in lines[-1]
    frame = read_metrics(kept / "metrics.csv")
    second = frame[frame["table"] == "2"]
    assert sorted(second["seed"].unique()) == [3, 5, 8] and len(second) == 12
    assert not second["recipe"].str.startswith("old").any()
    assert json.loads((kept / "masks.json").read_text()) == {"boxinst/1a": 1}
    again = build_report(plan, tmp_path / "nothing", {}, {}, Recorded(kept / "metrics.csv", "tiny"))
    told = measured(kept / "measured.json", again)
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
    (kept / "measured.json").write_text(json.dumps({"boxinst/2": {"commits": ["a", "b"]}}))
    told = measured(kept / "measured.json", build_report(plan, tmp_path, {}, {}))
    assert told == ["boxinst/2 by version a, b", "all others by former versions"]
    assert measured(kept / "none.json", build_report(plan, tmp_path, {}, {})) == []
