"""Drawings are kept as long as what they show is the same, and no longer."""

import json

import pytest

from tests.report import fabricated
from wsis.report import drawn, mask_panels, render
from wsis.report.drawn import Drawings, Panel, Plot, Strip, stamp

PLOT = Plot("<svg/>", "a caption", b"\x89PNG\x00\xff")
PANEL = Panel(Strip("truth", "data:", 4, 3, "alt"), [Strip("row", "data:", 4, 3, "alt")], ["1.png"])


def never():
    raise AssertionError("drawn again")


@pytest.mark.parametrize(("kind", "made"), [("plot", PLOT), ("plot", None), ("panel", PANEL)])
def test_what_is_kept_is_what_was_drawn(tmp_path, kind, made):
    first = getattr(Drawings(tmp_path), kind)(["x", 1.5], lambda: made)
    assert first == made
    assert getattr(Drawings(tmp_path), kind)(["x", 1.5], never) == made


def test_other_content_or_other_code_is_drawn_anew(tmp_path, monkeypatch):
    Drawings(tmp_path).plot(["x"], lambda: PLOT)
    other = Plot("<svg></svg>", "another", None)
    assert Drawings(tmp_path).plot(["y"], lambda: other) == other
    monkeypatch.setattr(drawn, "CODE", ("style.py",))
    assert Drawings(tmp_path).plot(["x"], lambda: other) == other


def test_a_file_that_is_cut_short_is_drawn_anew_and_unused_ones_go(tmp_path):
    Drawings(tmp_path).plot(["x"], lambda: PLOT)
    Drawings(tmp_path).plot(["old"], lambda: PLOT)
    for path in tmp_path.iterdir():
        path.write_text(json.dumps({"svg": ""})[:-3])
    drawings = Drawings(tmp_path)
    assert drawings.plot(["x"], lambda: PLOT) == PLOT
    drawings.forget_others()
    assert len(list(tmp_path.glob("[!.]*"))) == 1


def test_a_stamp_follows_the_file(tmp_path):
    path = tmp_path / "log.jsonl"
    absent = stamp(path)
    path.write_text("1\n")
    first = stamp(path)
    path.write_text("1\n2\n")
    assert len({str(absent), str(first), str(stamp(path))}) == 3


def test_a_second_report_draws_only_the_table_whose_numbers_changed(tmp_path, monkeypatch):
    report = fabricated.report()
    roots = fabricated.results(tmp_path / "results", report)
    asked = []
    draw = drawn.draw
    for module in (render, mask_panels):
        monkeypatch.setattr(module, "draw", lambda name, *args: asked.append(name) or draw(name, *args))
    index = render.render_report(report, tmp_path / "results", tmp_path / "out", roots)
    page = index.read_text(encoding="utf-8")
    assert set(asked) == {
        "plots:table_plot", "curves:curves_plot", "masks:mask_panel", "plots:figure_plot",
        "effect_plots:card_plot", "agreement:agreement_plot",
    }  # fmt: skip
    asked.clear()
    assert render.render_report(report, tmp_path / "results", tmp_path / "out", roots).read_text() == page
    assert asked == []
    cell = report.tables[0].cells["τ = 0.1", "AP"]
    cell.values = {seed: value + 1 for seed, value in cell.values.items()}
    render.render_report(report, tmp_path / "results", tmp_path / "out", roots)
    assert asked == ["plots:table_plot", "effect_plots:card_plot"]
    run = report.tables[0].cells["τ = 0.1", "AP"].runs[0]
    with (tmp_path / "results" / report.scale / "runs" / run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"iteration": 160, "total": 1.0, "losses": {"boxes": 0.1}}) + "\n")
    asked.clear()
    render.render_report(report, tmp_path / "results", tmp_path / "out", roots)
    assert asked == ["curves:curves_plot"]
