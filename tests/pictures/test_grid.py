"""A sheet shows tiles, marks, names and legend where they belong, neither too wide nor too heavy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wsis.pictures.canvas import GROUND, INK, ORIGINAL, PASTED, PINK
from wsis.pictures.grid import (
    BYTES,
    WIDTH,
    Bar,
    Box,
    Dot,
    Key,
    Row,
    Sheet,
    Tile,
    draw_sheet,
    save_sheets,
    wrapped,
)

BLACK = np.zeros((50, 50, 3), np.uint8)


def sheet(rows: list[Row], **words) -> Sheet:
    """Rows of any number of tiles, without headings or legend unless they are given."""
    given = {"headings": [], "legend": [], **words}
    return Sheet("name", "Title", rows, caption="Caption.", alt="alt", absent="nothing to show", **given)


def noise(size: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(60, 180, (8, 8, 3))
    return np.kron(values, np.ones((size // 8, size // 8, 1))).astype(np.uint8)


def has(picture: Image.Image | np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """h x w bool: pixels of this colour."""
    return (np.asarray(picture) == colour).all(-1)


@pytest.mark.parametrize("size", [64, 96, 640])
@pytest.mark.parametrize(("columns", "lines"), [(1, 2), (3, 4), (7, 10)])
def test_sheets_fit_the_page(tmp_path, size, columns, lines):
    tiles = [Tile(noise(size, seed), None, [Box((9, 9, 30, 30), PINK)]) for seed in range(columns)]
    keys = [Bar("low", "high"), *(Key("a rather long sentence about a colour", [PINK]) for _ in range(9))]
    rows = [Row(tiles, "name", f"image {number // 2}") for number in range(lines)]
    (entry,) = save_sheets([sheet(rows, legend=keys)], tmp_path, "Here.")
    path = tmp_path / entry["file"]
    assert path.stat().st_size <= BYTES
    drawn = draw_sheet(sheet(rows, legend=keys))
    assert Image.open(path).size == drawn.size == (entry["width"], entry["height"]) and drawn.width == WIDTH
    pixels = np.asarray(drawn)
    assert (pixels[:, -10:] == GROUND).all() and (pixels[:5] == GROUND).all()  # also on a dark page
    assert entry["caption"] == "Caption. Here." and entry["title"] == "Title" and entry["alt"] == "alt"


def test_tiles_stand_in_rows_and_columns_with_names_beside_and_headings_above():
    colours = np.array([[PINK, PASTED], [ORIGINAL, INK]], np.uint8)
    rows = [Row([Tile(np.full_like(BLACK, colour)) for colour in row], "row", "group") for row in colours]
    bare = draw_sheet(sheet([Row(row.tiles) for row in rows]))
    named = draw_sheet(sheet(rows, headings=[("one", "of two"), ("two", "")]))
    for picture in (bare, named):
        middles = [[np.argwhere(has(picture, tuple(c))).mean(0) for c in row] for row in colours[:, :2]]
        assert middles[0][0][0] == middles[0][1][0] and middles[0][0][1] == middles[1][0][1]
        assert middles[0][0][1] < middles[0][1][1] and middles[0][0][0] < middles[1][0][0]
    top, left = np.argwhere(has(named, PINK)).min(0)
    assert not has(named, GROUND)[:top].all() and not has(named, GROUND)[:, :left].all()
    top, left = np.argwhere(has(bare, PINK)).min(0)
    assert has(bare, GROUND)[:top].all() and has(bare, GROUND)[:, :left].all()


def test_marks_are_drawn_where_their_pixels_are():
    inside, outside = Box((10, 10, 30, 30), PINK), Box((40, 40, 50, 50), ORIGINAL, text="0.95")
    tile = Tile(BLACK, (0, 0, 40, 40), [inside, outside, Dot(20, 20, 6, PASTED, INK)])
    picture = tile.draw(80)
    ys, xs = np.nonzero(has(picture, PINK))
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (20, 59, 20, 59)
    assert not has(picture, PINK)[30:50, 30:50].any()
    assert np.argwhere(has(picture, PASTED)).mean(0) == pytest.approx((40, 40), abs=0.5)
    assert not has(picture, ORIGINAL).any(), "words of what isn't shown are not, either"
    words = replace(tile, marks=[replace(inside, text="0.95", width=0)]).draw(80)
    assert has(words, INK).any() and not has(words, PINK)[20:60, 20:60].any()
    dashed = has(replace(tile, marks=[replace(inside, dashed=True)]).draw(80), PINK)
    assert 0 < dashed.sum() < has(picture, PINK).sum() and not (dashed & ~has(picture, PINK)).any()


def test_a_frame_goes_around_a_tile_of_the_same_size():
    picture = Tile(BLACK, frame=PINK).draw(80)
    assert picture.size == (80, 80)
    frame = has(picture, PINK)
    assert frame[0].all() and frame[-1].all() and frame[:, 0].all() and not frame[10:70, 10:70].any()


def test_wrapped_rows_hold_every_tile_once_in_order():
    tiles = [Tile(BLACK) for _ in range(7)]
    rows = wrapped(tiles, 3, "group")
    assert [len(row.tiles) for row in rows] == [3, 3, 1] and {row.group for row in rows} == {"group"}
    assert all(a is b for a, b in zip(tiles, (tile for row in rows for tile in row.tiles), strict=True))


def test_a_sheet_without_rows_is_told_of_instead_of_drawn(tmp_path, capsys):
    assert save_sheets([sheet([])], tmp_path, "Here.") == [] and not list(tmp_path.iterdir())
    assert capsys.readouterr().out == "Here. No sheet 'Title': nothing to show.\n"
