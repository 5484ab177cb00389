"""When a report is taken for whole."""

import pytest

from wsis.checksums import seal
from wsis.report.rendered import note_shown, shown


@pytest.fixture
def written(tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<html>" + "x" * 100 + "</html>\n")
    (tmp_path / "metrics.csv").write_text("paper\n")
    seal(tmp_path / "metrics.csv")
    note_shown(tmp_path, "now")
    return tmp_path, page


def test_a_report_is_shown_until_something_changes(written):
    assert shown(*written, "now") and not shown(*written, "later")


@pytest.mark.parametrize("length", [None, 0, 5, 60, 105])
def test_a_page_that_is_lost_or_cut_is_written_anew(written, length):
    _, page = written
    content = page.read_bytes()
    page.unlink()
    if length is not None:
        page.write_bytes(content[:length])
    assert not shown(*written, "now")


@pytest.mark.parametrize("damage", ["lost", "other"])
def test_numbers_that_are_lost_or_other_are_written_anew(written, damage):
    path = written[0] / "metrics.csv"
    path.unlink() if damage == "lost" else path.write_text("table\n")
    assert not shown(*written, "now")
