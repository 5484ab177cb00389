"""BoxCaseg's sheets: what is drawn where, with made-up arrays."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from wsis.methods.boxcaseg import sheets
from wsis.methods.boxcaseg.sheets import HeadRow, PatchTile, ProxyRow
from wsis.pictures import canvas

ROOM = (0, 0, 100, 100)


def count(picture: Image.Image | np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(picture) == colour).all(-1).sum())


def noise(size: int, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 200, (8, 8, 3))
    return np.kron(values, np.ones((size // 8, size // 8, 1))).astype(np.uint8)


def patch(size: int = 48, salient: bool = False) -> PatchTile:
    """A label on the upper half of the rows and the left quarter of the columns."""
    label = np.zeros((size, size), bool)
    label[: size // 2, : size // 4] = True
    return PatchTile(noise(size), label, salient, label.any(1), label.any(0))


def proxy_row(size: int = 96) -> ProxyRow:
    """Two objects whose raw masks share a square; the first one's mask is dropped."""
    raw = np.zeros((2, size, size), bool)
    q = size // 4
    raw[0, q : 3 * q, : 2 * q] = raw[1, 2 * q :, q : 3 * q] = True
    merged = raw & ~np.stack([raw[1], np.zeros_like(raw[1])])
    boxes = np.array([[0, q, 2 * q, 3 * q], [q, 2 * q, 3 * q, size]], float)
    agreement, ious = np.array([0.75, 1.0]), np.array([0.5, 1.0])
    return ProxyRow(
        "image 1",
        np.zeros((size, size, 3), np.uint8),
        boxes,
        merged,
        agreement,
        agreement > 0.9,
        raw,
        raw,
        ious,
    )


def head_row(size: int = 96, heads=("weak", "salient", "transferred", "fused")) -> HeadRow:
    q = size // 4
    mask = np.zeros((size, size), bool)
    mask[q : 3 * q, q : 2 * q] = True
    maps = {name: np.linspace(0, 1, 4 * q * q).reshape(2 * q, 2 * q) for name in heads}
    return HeadRow(
        "image 1", "square", noise(size), np.array([q, q, 3 * q, 3 * q]), maps, mask, mask.copy(), 1.0
    )


@pytest.mark.parametrize("size", [64, 96, 640])
def test_no_sheet_is_too_wide_or_too_heavy(tmp_path, size):
    tiles = [patch(size // 2 // 8 * 8, salient) for salient in (False, True) for _ in range(12)]
    for sheet in (
        sheets.patches_sheet(tiles),
        sheets.patches_sheet(tiles[:1]),
        sheets.heads_sheet([head_row(size)] * 10),
        sheets.heads_sheet([head_row(size, ("weak",))]),
        sheets.masks_sheet("smaller box wins", [proxy_row(size)] * 6),
        sheets.proxies_sheet([proxy_row(size)] * 12),
        sheets.proxies_sheet([proxy_row(size)]),
    ):
        assert sheet.width <= canvas.WIDTH
        assert sheet.getpixel((0, 0)) == canvas.GROUND
        canvas.save_sheet(sheet, tmp_path / "sheet.jpg")
        assert (tmp_path / "sheet.jpg").stat().st_size <= canvas.BYTES


@pytest.mark.parametrize("salient", [False, True])
def test_the_marks_beside_a_patch_are_its_bags(salient):
    size, side = 48, 151
    sheet, draw = canvas.paper(200, 200)
    sheets._patch(sheet, draw, patch(size, salient), (10, 20), side)
    pixels = np.asarray(sheet)
    above, beside = pixels[20:32, 24 : 24 + side], pixels[34 : 34 + side, 10:22]
    for strip, share in ((above, 1 / 4), (beside, 1 / 2)):
        positive, negative = count(strip, canvas.PASTED), count(strip, canvas.BACKGROUND)
        assert positive + negative == strip.shape[0] * strip.shape[1]
        assert positive / (positive + negative) == pytest.approx(share, abs=1 / side)
    assert (above[0, : side // 4 - 1] == canvas.PASTED).all() and (above[0, -1] == canvas.BACKGROUND).all()
    assert (pixels[34 : 34 + side, 24 : 24 + side] == canvas.ORIGINAL).all(-1).any()


def test_masks_are_tinted_and_contested_pixels_are_nearly_white():
    row = proxy_row()
    colours = np.array([[200, 0, 0], [0, 200, 0]], np.uint8)
    tinted = canvas.tinted(row.image, row.raw, colours, share=0.5)
    times = row.raw.sum(0)
    assert (tinted[times == 0] == 0).all()
    assert (tinted[times == 2] == round(0.85 * 255)).all() and (times == 2).any()
    assert (tinted[row.raw[0] & (times == 1)] == (100, 0, 0)).all()
    assert (tinted[row.raw[1] & (times == 1)] == (0, 100, 0)).all()


def test_a_dropped_mask_leaves_a_dashed_box_and_no_colour():
    row = proxy_row()
    row.image[:] = 0
    picture = np.asarray(sheets._proxies(row, 96))
    middle = np.zeros((96, 96), bool)  # inside the boxes, away from outlines and words
    middle[34:40, 6:20] = True
    assert (picture[middle & row.merged[0]] == 0).all() and (middle & row.merged[0]).any()
    kept = row.merged[1].copy()
    kept[:70] = False
    inner = picture[kept][:, 2]
    assert (inner > 0).all()
    edge = picture[24 + 20 : 72, 0]  # the left side of the dropped box, below its word
    dashes = (edge == 255).all(-1)
    assert dashes.any() and not dashes.all()


def test_dashes_stay_on_the_outline():
    picture = Image.new("RGB", (60, 60))
    canvas.dashed(ImageDraw.Draw(picture), (10, 12, 50, 41), (255, 255, 255), 2)
    drawn = np.asarray(picture).any(-1)
    outline = np.zeros((60, 60), bool)
    outline[12:41, 10:50] = True
    outline[14:39, 12:48] = False
    assert not (drawn & ~outline).any()
    assert 0.35 < drawn.sum() / outline.sum() < 0.7


@pytest.mark.parametrize("width", [1, 3])
def test_an_outline_is_the_part_of_a_mask_next_to_its_outside(width):
    mask = np.zeros((20, 24), bool)
    mask[3:15, 0:14], mask[8:12, 10:22] = True, True
    drawn = (canvas.outlined(np.zeros((20, 24, 3), np.uint8), mask, (9, 9, 9), width) == 9).all(-1)
    for y, x in np.ndindex(mask.shape):
        near = False  # is a pixel outside the mask at most `width` steps away?
        for dy in range(-width, width + 1):
            for dx in range(-width + abs(dy), width - abs(dy) + 1):
                inside = 0 <= y + dy < 20 and 0 <= x + dx < 24
                near |= not (inside and mask[y + dy, x + dx])
        assert drawn[y, x] == (mask[y, x] and near)


def test_words_stay_off_each_other_and_in_the_picture():
    labels = canvas.Labels(Image.new("RGB", (100, 100)))
    for box in (ROOM, (20, 20, 90, 60), (40, 20, 90, 50), (0, 90, 30, 100), (0, 90, 30, 100)):
        labels.write(box, "0.95", canvas.WHITE)
    for index, (x0, y0, x1, y1) in enumerate(labels.taken):
        assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 100
        assert not any(x0 < b[2] and b[0] < x1 and y0 < b[3] and b[1] < y1 for b in labels.taken[index + 1 :])
