"""metrics.csv: what is written is read back, number for number."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest

from tests.report.results_folder import make_plan, make_results, measured
from wsis.errors import WsisError
from wsis.report.build import build_report
from wsis.report.collect import COLUMNS, read_metrics, write_metrics
from wsis.report.model import Report


@pytest.fixture
def report(tmp_path: Path) -> Report:
    plan = make_plan()
    make_results(plan, tmp_path)
    return build_report(plan, tmp_path, figures={}, errata={})


def test_one_line_a_measured_value(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "deep/metrics.csv"
    count = write_metrics(report, path)
    assert count == sum(cell.n for result in report.tables for cell in result.cells.values())
    assert count == 3 * 2 + 3 * 4 + 2  # AP of two rows and of four, prop of two rows once each
    assert [p.name for p in path.parent.iterdir()] == ["metrics.csv"]  # nothing temporary stays


def test_round_trip_is_exact(report: Report, tmp_path: Path) -> None:
    write_metrics(report, tmp_path / "metrics.csv")
    frame = read_metrics(tmp_path / "metrics.csv")
    low = frame[(frame["row"] == "low") & (frame["metric"] == "AP")]
    expected = {seed: measured("low", seed) for seed in (3, 5, 8)}
    assert dict(zip(low["seed"], low["value"], strict=True)) == expected
    assert set(frame["table"]) == {"1a", "2"}


def test_pandas_reads_numbers_as_numbers(report: Report, tmp_path: Path) -> None:
    report.tables[0].cells["low", "AP"].published = None
    write_metrics(report, tmp_path / "metrics.csv")
    frame = pandas.read_csv(tmp_path / "metrics.csv")
    assert list(frame.columns) == list(COLUMNS)
    assert frame["value"].dtype == frame["published"].dtype == "float64" and frame["seed"].dtype == "int64"
    low = frame[(frame["row"] == "low") & (frame["metric"] == "AP")]
    assert low["published"].isna().all() and frame["published"].notna().any()


def test_labels_survive_commas_quotes_and_lines(report: Report, tmp_path: Path) -> None:
    result = report.tables[1]
    label = 'tau = 0.1, "any"\n\u03c4'
    result.cells = {(label, metric): cell for (_, metric), cell in result.cells.items()}
    write_metrics(report, tmp_path / "metrics.csv")
    assert label in set(read_metrics(tmp_path / "metrics.csv")["row"])


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    with pytest.raises(WsisError, match="no such file"):
        read_metrics(path)
    path.write_text("paper,table\nboxinst,1a\n")
    with pytest.raises(WsisError, match="expected the columns"):
        read_metrics(path)
    path.write_text(",".join(COLUMNS) + "\nboxinst,1a,low,3,AP,much,,r,tiny\n")
    with pytest.raises(WsisError, match="much"):
        read_metrics(path)
