"""The page: complete, self-contained, escaped, and honest about what was not run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.report import fabricated
from tests.report.test_tables import _Tags
from wsis.errors import WsisError
from wsis.report.effects import fill_effects
from wsis.report.model import Live, Ran, Report
from wsis.report.pictures import read_pictures
from wsis.report.render import render_report


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    report = fabricated.report()
    roots = fabricated.results(folder / "results", report)
    index = render_report(report, folder / "results", folder / "out", roots)
    return report, index, index.read_text(encoding="utf-8")


def test_every_published_number_and_every_claim_is_on_the_page(rendered):
    report, _, text = rendered
    words = " ".join(_Tags(text).texts)
    for result in report.tables:
        for cell in result.cells.values():
            assert cell.published is None or f"{cell.published:.1f}" in words
        for claim in result.claims:
            assert claim.claim.text in words and claim.detail in words
    for erratum in report.errata["boxinst"]:
        assert erratum.follows in words


def test_the_share_of_verdicts_on_the_edge_is_on_the_page(rendered):
    report, _, text = rendered
    claims = [claim for result in report.tables for claim in result.claims if claim.verdict != "not run"]
    edge = sum(claim.edge for claim in claims)
    assert edge and f"{edge} of {len(claims)} judged are" in " ".join(" ".join(_Tags(text).texts).split())


def test_nothing_is_fetched_and_nothing_hostile_runs(rendered):
    _, _, text = rendered
    page = _Tags(text)
    assert not page.open
    scripts = [attrs for tag, attrs in page.tags if tag == "script"]
    assert scripts == [{}]  # our own, inline
    addresses = [a.get("src") or a.get("href") for _, a in page.tags if a.get("src") or a.get("href")]
    assert all(
        re.match(
            r"data:|#|agreement\.png$|pictures/\w+\.(jpg|png|webp)$"
            r"|(boxinst|sim|boxcaseg|baiseg)/table\w+\.(csv|md|tex|html)$",
            a,
        )
        for a in addresses
    )
    assert "@import" not in text and not re.search(r"url\(\s*['\"]?http", text)
    assert fabricated.EVIL in " ".join(page.texts)


def test_ids_are_unique_and_links_lead_somewhere(rendered):
    page = _Tags(rendered[2])
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {a["href"][1:] for tag, a in page.tags if tag == "a" and a["href"].startswith("#")}
    assert links <= set(ids)
    described = {a["aria-describedby"] for _, a in page.tags if "aria-describedby" in a}
    assert described <= set(ids)


def test_what_was_measured_comes_first_and_the_rest_is_collapsed(rendered):
    _, _, text = rendered
    places = [
        text.index(f'id="{anchor}"')
        for anchor in (
            "papers",
            "boxinst-table-1a",
            "boxinst-table-5",
            "sim",
            "claims",
            "errata",
            "provenance",
        )
    ]
    assert places == sorted(places)
    assert re.search(r'<details class="unrun table" id="sim-table-1">', text)
    assert re.search(r'<section class="table" id="boxinst-table-1a">', text)


def test_every_table_has_its_files(rendered):
    report, index, _ = rendered
    for result in report.tables:
        stem = index.parent / result.table.paper / f"table{result.table.table}"
        for ending in ("md", "csv", "tex", "html"):
            assert stem.with_suffix(f".{ending}").stat().st_size > 100
    for name in ("table1a", "table3", "figure4"):
        assert (index.parent / "boxinst" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    hidden = {path.suffix for path in index.parent.rglob(".*")}
    assert hidden == {".sha256"}  # of what is drawn; no temporary file stays


def test_masks_and_curves_are_there(rendered):
    _, _, text = rendered
    page = _Tags(text)
    images = [attrs["alt"] for tag, attrs in page.tags if tag == "img"]
    # ground truth and trained rows of three tables, two pictures, and those of a card
    card = text[text.index('id="card-sim"') : text.index('id="boxinst"')].count("<img")
    assert card == 3 and len(images) == (1 + 4) + (1 + 3) + (1 + 4) + 2 + card
    assert any("τ = 0.1" in alt for alt in images)
    assert "boxinst-table-1a-curves" in text and "running mean" in text
    assert len(text) < 3e6


def test_pictures_stand_in_the_first_table_that_shows_their_run(rendered):
    _, _, text = rendered
    page = _Tags(text)
    shown = [
        attrs
        for tag, attrs in page.tags
        if tag == "img" and attrs["alt"] in ("of maps.png", "of weights.png")
    ]
    assert [(a["width"], a["height"]) for a in shown] == [("1180", "420"), ("500", "300")]
    assert all(
        a["src"].startswith("pictures/") and a["src"].endswith(".png") and a["loading"] == "lazy"
        for a in shown
    )
    place = text.index("Sheet maps.png</h5>")
    assert text.index('id="sim-table-3"') < place < text.index('id="sim-table-1"')  # that one was not run
    assert text.count("Sheet maps.png</h5>") == 1
    words = " ".join(page.texts)
    assert "maps.png: from left to right." in words and "pseudo + paste" in words


def test_a_run_that_two_tables_show_has_its_pictures_once(tmp_path):
    first, second = fabricated.measures_table(), fabricated.measures_table()
    second.table = second.table.model_copy(update={"table": "4"})
    report = Report("tiny", fabricated.SEEDS, tables=[first, second])
    folder = tmp_path / "results/tiny/runs" / fabricated.run_id(fabricated.PICTURED, 0)
    folder.mkdir(parents=True)
    fabricated.pictures(folder / "pictures")
    text = render_report(report, tmp_path / "results", tmp_path / "out").read_text(encoding="utf-8")
    assert text.count("Sheet maps.png</h5>") == 1
    assert text.index("Sheet maps.png</h5>") < text.index('<section class="table" id="sim-table-4">')


@pytest.mark.parametrize(
    "content",
    ["[", '[{"file": "maps.png"}]', "{}x", '[{"file": "maps.gif", "title": "t", "caption": "", "alt": ""}]'],
)
def test_broken_pictures_are_named(tmp_path, content):
    folder = tmp_path / "pictures"
    fabricated.pictures(folder)
    (folder / "pictures.json").write_text(content)
    with pytest.raises(WsisError, match="pictures"):
        read_pictures(tmp_path)
    (folder / "pictures.json").unlink()
    assert read_pictures(tmp_path) == []


def test_rendering_twice_gives_the_same_page(rendered, tmp_path):
    report, index, text = rendered
    again = render_report(report, index.parent.parent / "results", tmp_path)  # roots found by name this time
    assert again.read_text(encoding="utf-8") == text


def test_an_empty_report_renders(tmp_path):
    report = Report("tiny", (0,), tables=[fabricated.unrun_table("sim", "1")])
    text = render_report(report, tmp_path / "absent", tmp_path / "out").read_text(encoding="utf-8")
    assert "41.2" in text and "not run" in text


def test_the_report_needs_no_torch():
    """In a process of its own, since other tests import torch."""
    code = "import sys, wsis.report.render; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_on_own_data_no_sentence_of_a_paper_counts_as_judged(tmp_path):
    """The user's classes say nothing of what a paper printed: neither its numbers nor its verdicts."""
    report = fabricated.report()
    for result in report.tables:
        result.ran = Ran("street: 3 classes (car, bus, tram)", own=True)
        for cell in result.cells.values():
            cell.published = cell.interval = None
        fill_effects(result)
    text = render_report(report, tmp_path, tmp_path / "out").read_text(encoding="utf-8")
    body = text[text.index("<main") :].partition("</main>")[0]
    words = " ".join(" ".join(_Tags(body).texts).split())
    assert "Your data: street: 3 classes (car, bus, tram)." in words and "holds here" in words
    assert not re.search(r"reproduced|contradicted", words)
    for result in report.tables:
        for claim in result.claims:
            assert f"The paper, of its data: {claim.claim.text}" in words
    table = text[text.index('id="table-boxinst-table-1a"') :].partition("</table>")[0]
    assert "published" not in table and "the paper prints no number" not in table
    assert "agreement" not in text


def test_what_is_being_trained_stands_on_top(tmp_path):
    report = fabricated.report()
    report.live = Live(
        "29 November, 18:05", ["boxinst/3  projection  seed 62: step 5 of 9"], "3 of 8", "18:20"
    )
    text = render_report(report, tmp_path, tmp_path / "out").read_text(encoding="utf-8")
    words = " ".join(" ".join(_Tags(text[: text.index('id="papers"')]).texts).split())
    assert (
        "At 29 November, 18:05 : 3 of 8 rows finished, the rest until about 18:20 . Being trained:" in words
    )
    assert "boxinst/3 projection seed 62: step 5 of 9" in words
