"""A report from a metrics.csv alone says what the report on the runs said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report.results_folder import make_plan, make_results
from wsis.errors import WsisError
from wsis.flow.decide import decision_as_json, known, named
from wsis.report.build import build_report
from wsis.report.collect import COLUMNS, write_metrics
from wsis.report.mask_panels import read_faces
from wsis.report.recorded import Recorded


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    plan = make_plan()
    make_results(plan, tmp_path)
    path = tmp_path / "reference/tiny/metrics.csv"
    write_metrics(build_report(plan, tmp_path, {}, {}), path)
    return path


def test_cells_claims_and_effects_are_those_of_the_runs(kept: Path, tmp_path: Path) -> None:
    plan = make_plan()
    live = build_report(plan, tmp_path, {}, {})
    again = build_report(plan, tmp_path / "nothing", {}, {}, Recorded(kept, "tiny"))
    for one, other in zip(live.tables, again.tables, strict=True):
        for place, cell in one.cells.items():
            assert other.cells[place].values == cell.values
            assert other.cells[place].effect == cell.effect and other.cells[place].leads == cell.leads
        assert [(c.verdict, c.corrected, c.q) for c in other.claims] == [
            (c.verdict, c.corrected, c.q) for c in one.claims
        ]


def test_another_form_and_another_scale_are_refused(kept: Path, tmp_path: Path) -> None:
    with pytest.raises(WsisError, match="of scale tiny, not paper"):
        Recorded(kept, "paper")
    with pytest.raises(WsisError, match="no such file"):
        Recorded(tmp_path / "none.csv", "tiny")
    for text in ("a,b\n", ",".join(COLUMNS) + "\nboxinst,1a,x,one,AP,2,,id,tiny\n"):
        (tmp_path / "other.csv").write_text(text)
        with pytest.raises(WsisError, match=r"other\.csv"):
            Recorded(tmp_path / "other.csv", "tiny")
    (tmp_path / "masks.json").write_text("[1]")
    assert read_faces(tmp_path / "none.json") == {}
    with pytest.raises(WsisError, match="masks"):
        read_faces(tmp_path / "masks.json")


def test_a_decision_is_told_by_the_runs_or_else_by_the_reference(kept: Path, tmp_path: Path) -> None:
    report, source = known(make_plan(), tmp_path)
    assert source.startswith("the runs in")
    claim = named(report, "boxinst/1a middle-above-low")
    assert claim is named(report, "middle-above-low")
    assert decision_as_json(claim, source)["verdict"] == "contradicted"
    with pytest.raises(WsisError, match="middle-above-low"):
        named(report, "middle-above-lo")
    (tmp_path / "tiny").rename(tmp_path / "gone")
    assert known(make_plan(), tmp_path)[1] == "the reference run"
    with pytest.raises(WsisError, match="nothing was run"):
        known(make_plan(), tmp_path / "gone")
