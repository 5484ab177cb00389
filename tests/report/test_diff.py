"""diff.json, and what `wsis diff` says about a run that no longer reproduces what a reference does."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from tests.report.results_folder import make_plan, make_results
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.flow.show import show_diff
from wsis.report.build import build_report
from wsis.report.collect import write_metrics
from wsis.report.diff import compare, make_diff, on_edge, read_reference, write_claims, write_diff
from wsis.report.model import VERDICTS, Report


@pytest.fixture
def report(tmp_path: Path) -> Report:
    plan = make_plan()
    make_results(plan, tmp_path / "results")
    return build_report(plan, tmp_path / "results", figures={}, errata={})


@pytest.fixture
def reference(report: Report, tmp_path: Path) -> dict:
    write_metrics(report, tmp_path / "reference/metrics.csv")
    write_claims(report, tmp_path / "reference/claims.json")
    return read_reference(tmp_path / "reference/claims.json")


def claim(diff: dict, table: str, name: str) -> dict:
    (found,) = [t for t in diff["tables"] if t["table"] == table]
    return next(c for c in found["claims"] if c["id"] == name)


def test_diff_holds_every_cell_and_is_strict_json(report: Report, tmp_path: Path) -> None:
    write_diff(report, tmp_path / "reports/diff.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    diff = json.loads((tmp_path / "reports/diff.json").read_text(), parse_constant=refuse)
    assert diff["scale"] == "tiny" and diff["seeds"] == [3, 5, 8]
    for table, result in zip(diff["tables"], report.tables, strict=True):
        assert [row["label"] for row in table["rows"]] == result.table.labels
        for row in table["rows"]:
            assert list(row["cells"]) == table["metrics"]
            for metric, cell in row["cells"].items():
                expected = result.cells[row["label"], metric]
                assert cell["n"] == len(expected.values)
                assert (cell["mean"] is None) == (cell["n"] == 0) == (cell["reason"] is not None)
                if cell["mean"] is not None and cell["published"] is not None:
                    assert cell["difference"] == pytest.approx(cell["mean"] - cell["published"])
                    assert cell["interval"][0] < cell["published"] < cell["interval"][1]
    rows = {row["label"]: row for row in diff["tables"][0]["rows"]}
    assert rows["others"]["kind"] == "quote" and rows["others"]["recipe"] is None
    assert rows["low"]["recipe"] == make_plan().row_runs("boxinst/1a", "low")[3]


def test_counts_are_those_of_the_claims(report: Report) -> None:
    diff = make_diff(report)
    verdicts = [claim["verdict"] for table in diff["tables"] for claim in table["claims"]]
    assert diff["claims"] == {verdict: verdicts.count(verdict) for verdict in VERDICTS}
    assert diff["claims"]["reproduced"] == 3


def test_reference_round_trip(report: Report, reference: dict, tmp_path: Path) -> None:
    write_metrics(report, tmp_path / "metrics.csv")
    assert (tmp_path / "reference/metrics.csv").read_text() == (tmp_path / "metrics.csv").read_text()
    expected = [(r.table.key, c.claim.id, c.verdict) for r in report.tables for c in r.claims]
    assert [(c["table"], c["id"], c["verdict"]) for c in reference["claims"]] == expected
    assert [c["edge"] for c in reference["claims"]] == [c.edge for r in report.tables for c in r.claims]
    keys = {"table", "id", "verdict", "corrected", "edge", "detail"}
    assert all(set(c) == keys for c in reference["claims"])


def on_no_edge(content: dict) -> dict:
    """A copy of a diff or a reference in which nothing is on the edge."""
    content = copy.deepcopy(content)
    for claims in [t["claims"] for t in content.get("tables", ())] or [content["claims"]]:
        for entry in claims:
            entry["edge"] = False
    return content


def old(reference: dict, name: str) -> dict:
    return next(c for c in reference["claims"] if c["id"] == name)


def test_a_run_agrees_with_itself(report: Report, reference: dict) -> None:
    assert compare(make_diff(report), reference) == ([], [])


@pytest.mark.parametrize("verdict", ["contradicted", "inconclusive"])
def test_each_other_verdict_is_named(report: Report, reference: dict, verdict: str) -> None:
    diff = on_no_edge(make_diff(report))
    claim(diff, "1a", "low-above-middle")["verdict"] = verdict
    (line,), notes = compare(diff, on_no_edge(reference))
    assert "boxinst/1a low-above-middle" in line and f"was reproduced, is {verdict}" in line and not notes


@pytest.mark.parametrize("side", ["was", "is"])
def test_another_verdict_on_the_edge_is_a_note(report: Report, reference: dict, side: str) -> None:
    diff, reference = on_no_edge(make_diff(report)), on_no_edge(reference)
    new, before = claim(diff, "1a", "low-above-middle"), old(reference, "low-above-middle")
    new["verdict"] = "inconclusive"
    (before if side == "was" else new)["edge"] = True
    failures, (note,) = compare(diff, reference)
    assert not failures and f"it {side} on the edge" in note
    new["verdict"] = "not run"  # a training that failed shows in the workflow's exit code
    new["edge"] = False
    failures, notes = compare(diff, reference)
    assert not failures and len(notes) == 1


def test_all_that_was_judged_counts(report: Report, reference: dict) -> None:
    diff, reference = on_no_edge(make_diff(report)), on_no_edge(reference)
    claim(diff, "1a", "middle-above-low")["verdict"] = "reproduced"  # contradicted in the reference
    claim(diff, "1a", "high-is-best")["verdict"] = "contradicted"  # not run in the reference
    (line,), notes = compare(diff, reference)
    assert "middle-above-low" in line and not notes


def test_an_undecided_verdict_that_is_decided_now_counts_too(report: Report, reference: dict) -> None:
    diff, reference = on_no_edge(make_diff(report)), on_no_edge(reference)
    old(reference, "low-above-middle")["verdict"] = "inconclusive"
    (line,), notes = compare(diff, reference)
    assert "was inconclusive, is reproduced" in line and not notes
    claim(diff, "1a", "low-above-middle")["edge"] = True
    assert [len(lines) for lines in compare(diff, reference)] == [0, 1]
    claim(diff, "1a", "low-above-middle").update(verdict="not run", edge=False)  # nothing decided is lost
    assert [len(lines) for lines in compare(diff, reference)] == [0, 1]


def test_a_reference_from_before_the_edge_is_read(report: Report, reference: dict) -> None:
    for entry in reference["claims"]:
        del entry["edge"]
    diff = on_no_edge(make_diff(report))
    assert compare(diff, reference) == ([], [])
    claim(diff, "1a", "low-above-middle")["verdict"] = "inconclusive"
    assert [len(lines) for lines in compare(diff, reference)] == [1, 0]


def test_the_share_on_the_edge_is_of_what_was_judged(report: Report) -> None:
    judged = [c for r in report.tables for c in r.claims if c.verdict != "not run"]
    assert on_edge(make_diff(report)) == (sum(c.edge for c in judged), len(judged))
    assert on_edge(on_no_edge(make_diff(report))) == (0, len(judged))


def test_the_terminal_says_what_fails_and_what_is_noted(report, reference, tmp_path, capsys) -> None:
    diff, path = on_no_edge(make_diff(report)), tmp_path / "reference/claims.json"
    claim(diff, "1a", "low-above-middle").update(verdict="inconclusive", edge=True)
    claim(diff, "1a", "middle-above-low").update(verdict="inconclusive")
    write_json(path, on_no_edge(reference))
    write_json(tmp_path / "diff.json", diff)
    (failure,) = show_diff(tmp_path / "diff.json", path)
    said = " ".join(capsys.readouterr().out.split())
    assert f"differs: {failure}" in said and "note: boxinst/1a low-above-middle: was reproduced" in said
    assert f"on the edge: 1 of {on_edge(diff)[1]} judged" in said


def test_a_table_nobody_ran_is_not_a_loss(reference: dict, tmp_path: Path) -> None:
    plan = make_plan()
    nothing = build_report(plan, tmp_path / "nothing", figures={}, errata={})
    assert compare(make_diff(nothing), reference) == ([], [])
    # a measurement of the data is no run of the table either
    make_results(plan, tmp_path / "measured")
    for path in (tmp_path / "measured/tiny/runs").glob("*/metrics.json"):
        path.unlink()
    only = make_diff(build_report(plan, tmp_path / "measured", figures={}, errata={}))
    assert claim(only, "1a", "prop-rises")["verdict"] == "reproduced"
    assert compare(only, reference) == ([], [])


def test_one_table_run_without_a_row_of_its_claim_is_noted(reference: dict, tmp_path: Path) -> None:
    plan = make_plan()
    make_results(plan, tmp_path / "part")
    for run in plan.row_runs("boxinst/1a", "middle").values():
        (tmp_path / "part/tiny/runs" / run / "metrics.json").unlink()
    diff = make_diff(build_report(plan, tmp_path / "part", figures={}, errata={}))
    failures, notes = compare(diff, reference)
    lines = [line for line in notes if "is not run" in line]
    assert not failures and len(lines) == 2 and all("above" in line for line in lines)


def test_removed_claims_are_named(report: Report, reference: dict) -> None:
    diff = make_diff(report)
    diff["tables"] = [table for table in diff["tables"] if table["table"] != "2"]
    assert compare(diff, reference) == (["boxinst/2 r4-best: no longer declared"], [])


def test_scales_do_not_mix(report: Report, reference: dict) -> None:
    with pytest.raises(WsisError, match="paper"):
        compare(make_diff(report), reference | {"scale": "paper"})


def test_reference_of_another_form_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WsisError, match="no such file"):
        read_reference(tmp_path / "claims.json")
    (tmp_path / "claims.json").write_text("[]")
    with pytest.raises(WsisError, match="not a reference"):
        read_reference(tmp_path / "claims.json")
