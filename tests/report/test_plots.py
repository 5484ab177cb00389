"""Plots, training curves and mask panels show what they were given."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from tests.report import fabricated
from wsis.errors import WsisError
from wsis.report.curves import curves_plot, read_log, smooth
from wsis.report.masks import COLOURS, GAP, _colours, mask_panel
from wsis.report.plots import figure_plot, table_plot


def ink(content: bytes) -> float:
    """Share of pixels that are not white."""
    pixels = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    return float((pixels < 250).mean())


@pytest.mark.parametrize("made", ["threshold_table", "systems_table"])
def test_a_table_plot_is_not_blank_and_names_its_rows(made):
    result = getattr(fabricated, made)()
    plot = table_plot(result)
    assert 0.005 < ink(plot.png) < 0.5
    words = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    assert "published" in words and any(word.startswith("measured (3 seeds") for word in words)
    axis = [f"{x:g}" for x in result.table.sweep.points.values()] if result.table.sweep else ["Box mask"]
    assert set(axis) <= set(words)


def test_inline_svg_follows_the_page():
    """Colours are variables, ids are prefixed, nothing is fetched."""
    svg = table_plot(fabricated.threshold_table()).svg
    assert "var(--published)" in svg and "var(--measured)" in svg and "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}\b(?![^\"]*\))", re.sub(r"(url\(#|href=\"#)[^\")]*", "", svg))
    ids = set(re.findall(r'\bid="([^"]+)"', svg))
    assert all(name.startswith("boxinst-table-1a-") for name in ids)
    assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= ids
    addresses = set(re.findall(r'"(https?://[^"]+)"', svg))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_close_levels_share_an_axis_and_distant_ones_do_not():
    close, far = fabricated.threshold_table(), fabricated.threshold_table()
    for (label, metric), cell in close.cells.items():
        if cell.published is not None:
            cell.values = {0: cell.published + 0.1, 1: cell.published - 0.1}
            far.cells[label, metric].values = {0: cell.published + 500, 1: cell.published + 501}
    assert "share their vertical axis" in table_plot(close).caption
    assert "differ in their vertical axes" in table_plot(far).caption


def test_nothing_measured_means_no_plot():
    assert table_plot(fabricated.unrun_table("sim", "1")) is None
    figure = fabricated.figure()
    figure.measured = []
    assert figure_plot(figure) is None


def test_a_figure_shows_measured_curves_and_published_points():
    plot = figure_plot(fabricated.figure())
    assert 0.005 < ink(plot.png) < 0.5
    words = re.findall(r"<text[^>]*>([^<]*)</text>", plot.svg)
    assert {"published: Table 1a", "positive edges, %", "positive edges kept, %"} <= set(words)
    assert words.count("measured: an endpoint in the box") == 1  # one legend for both panels


def test_smoothing_is_the_plain_mean_over_the_window():
    values = np.random.default_rng(0).normal(size=40)
    values[7] = np.nan
    for window in (1, 3, 5, 8):
        before, after = window - 1 - (window - 1) // 2, (window - 1) // 2
        slow = [
            np.nanmean(values[max(0, i - before) : i + after + 1]) for i in range(40) if window > 1 or i != 7
        ]
        fast = smooth(values, window)
        np.testing.assert_allclose(fast if window > 1 else np.delete(fast, 7), slow)


def test_a_log_keeps_the_last_line_of_a_repeated_step(tmp_path):
    lines = [{"iteration": t, "total": float(t), "losses": {"mask": 1.0}} for t in (0, 1, 2)]
    lines.append({"iteration": 1, "total": 9.0, "losses": {"mask": 2.0, "box": 3.0}})
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"iteration": 3, "to', encoding="utf-8")
    log = read_log(path)
    assert log.iterations.tolist() == [0, 1, 2] and log.losses["total"].tolist() == [0, 9, 2]
    assert np.isnan(log.losses["box"][[0, 2]]).all() and log.losses["box"][1] == 3
    path.write_text('{"iteration": 3, "to\n' + json.dumps(lines[0]) + "\n", encoding="utf-8")
    with pytest.raises(WsisError, match="line 1"):
        read_log(path)


def test_curves_have_a_panel_a_loss_and_a_line_a_row(tmp_path):
    report = fabricated.report()
    fabricated.results(tmp_path, report)
    runs = tmp_path / "tiny" / "runs"
    rows = [
        (label, [runs / fabricated.run_id(label, s) for s in fabricated.SEEDS])
        for label in ("τ = 0", "τ = 0.1")
    ]
    svg = curves_plot("x", [*rows, ("never ran", [runs / "absent"])]).svg
    words = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    assert {"total", "classes", "boxes", "projection", "pairwise", "τ = 0", "τ = 0.1"} <= set(words)
    assert "never ran" not in words
    assert curves_plot("x", [("never ran", [runs / "absent"])]) is None


def decode(strip) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(b64decode(strip.uri.split(",")[1]))))


def test_mask_panel_draws_the_same_images_in_every_row(tmp_path):
    report = fabricated.report()
    roots = fabricated.results(tmp_path, report)
    root = next(iter(roots.values()))
    runs = [tmp_path / "tiny" / "runs" / run for run in list(roots)[:2]]
    truth = json.loads((root / "annotations" / "instances_val.json").read_text())
    perfect = [{**a, "score": 0.9 if a["image_id"] < 4 else 0.2} for a in truth["annotations"]]
    (runs[0] / "predictions.json").write_text(json.dumps(perfect))
    (runs[1] / "predictions.json").write_text("[]")
    rows = [("perfect", runs[0]), ("empty", runs[1]), ("absent", tmp_path)]
    panel = mask_panel(rows, root / "annotations" / "instances_val.json", root / "val")
    assert [strip.label for strip in panel.rows] == ["perfect", "empty"]
    assert panel.images == [f"{i:06d}.png" for i in (1, 2, 3, 4)]
    shown, perfect, empty = (decode(strip).astype(int) for strip in (panel.truth, *panel.rows))
    tile = (shown.shape[1] - 3 * GAP) // 4
    last = 3 * (tile + GAP)
    same = abs(shown[:, : last - GAP] - perfect[:, : last - GAP])
    assert same.max() <= 40 and same.mean() <= 1  # the same masks, the same colours, but for the compression
    assert abs(shown[:, last:] - perfect[:, last:]).max() > 50  # scores of 0.3 or less are not drawn
    assert abs(shown - empty).max() > 50


def test_a_prediction_has_the_colour_of_its_object():
    objects = [np.zeros((20, 20), np.uint8) for _ in range(2)]
    objects[0][:8, :8], objects[1][10:, 10:] = 1, 1
    stray = np.zeros((20, 20), np.uint8)
    stray[:4, 15:] = 1
    colours = _colours([objects[1], stray, objects[0]], objects)
    assert [c.tolist() for c in colours] == [COLOURS[1].tolist(), [255, 255, 255], COLOURS[0].tolist()]


def test_a_missing_image_is_named(tmp_path):
    report = fabricated.report()
    roots = fabricated.results(tmp_path, report)
    root = next(iter(roots.values()))
    (root / "val" / "000002.png").unlink()
    run = tmp_path / "tiny" / "runs" / next(iter(roots))
    with pytest.raises(WsisError, match=r"000002\.png"):
        mask_panel([("row", run)], root / "annotations" / "instances_val.json", root / "val")
