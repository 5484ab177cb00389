"""Sheets of pictures that show what BoxCaseg does, after its Figures 3 and 5. Arrays in, PIL images out.

Shapes: S patch side, h x w pixels of an image, N objects of an image. Boxes are xyxy pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wsis.pictures.canvas import (
    BACKGROUND,
    FAINT,
    GAP,
    GUTTER,
    INK,
    MARGIN,
    OBJECTS,
    ORIGINAL,
    PASTED,
    WHITE,
    WIDTH,
    Labels,
    colour_bar,
    dashed,
    faded,
    fitted,
    heat,
    outlined,
    paper,
    rectangle,
    swatch,
    three_labels,
    tinted,
    window_around,
    write,
    write_upright,
)

STRIP = 12  # pixels of the marks beside a patch


@dataclass
class PatchTile:
    """A training patch. image: S x S x 3 uint8; label: S x S bool; salient: the label is a mask, else a box.

    rows, columns: S bool, which of the bags are positive
    """

    image: np.ndarray
    label: np.ndarray
    salient: bool
    rows: np.ndarray
    columns: np.ndarray


@dataclass
class HeadRow:
    """One object. image: h x w x 3 uint8; box: 4 int, pixels; maps: title -> probabilities in the box.

    mask, truth: h x w bool; iou: of the two
    """

    group: str
    name: str
    image: np.ndarray
    box: np.ndarray
    maps: dict[str, np.ndarray]
    mask: np.ndarray
    truth: np.ndarray
    iou: float


@dataclass
class ProxyRow:
    """One image's objects. raw, merged: N x h x w bool; agreement: N, of merged; kept: N bool.

    truth: N x h x w bool and ious: N of `merged`, or None where it isn't shown
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    merged: np.ndarray
    agreement: np.ndarray
    kept: np.ndarray
    raw: np.ndarray | None = None
    truth: np.ndarray | None = None
    ious: np.ndarray | None = None


def patches_sheet(tiles: Sequence[PatchTile], columns: int = 6) -> Image.Image:
    """Figure 3: patches with their labels; beside each its rows' bags, above it its columns'."""
    kinds = [(False, "around a box, jittered"), (True, "of a salient image")]
    groups = [(name, [tile for tile in tiles if tile.salient == kind]) for kind, name in kinds]
    groups = [(name, members) for name, members in groups if members]
    step = (WIDTH - 2 * MARGIN + GAP) // columns
    side, top, legend = step - GAP - STRIP - 2, 32, 34
    heights = [top + -(-len(members) // columns) * step for _, members in groups]
    sheet, draw = paper(WIDTH, sum(heights) + legend)
    y = 0
    for (name, members), height in zip(groups, heights, strict=True):
        write(draw, (MARGIN, y + 9), f"patches {name}", 16, bold=True)
        for index, tile in enumerate(members):
            at = (MARGIN + index % columns * step, y + top + index // columns * step)
            _patch(sheet, draw, tile, at, side)
        y += height
    x, y = MARGIN - 22, sheet.height - legend + 8
    for colour, what in (
        (PASTED, "positive bag: a row or column with the object"),
        (BACKGROUND, "negative bag"),
        (ORIGINAL, "label: the box, or the outline of the mask"),
    ):
        x = swatch(draw, (x + 22, y), colour, what)
    return sheet


def heads_sheet(rows: Sequence[HeadRow]) -> Image.Image:
    """What each head makes of an object's box, the mask that follows, and the true one; a row an object."""
    names = list(rows[0].maps)
    headings = [("image", "box"), *((name, "probability") for name in names)]
    headings += [("mask", "stretched, above 1/2"), ("ground truth", "never seen")]
    count = len(headings)
    side = min((WIDTH - 2 * MARGIN - GUTTER - (count - 1) * GAP) // count, 170)
    top, legend = 52, 34
    lefts = [MARGIN + GUTTER + i * (side + GAP) for i in range(count)]
    sheet, draw = paper(max(lefts[-1] + side + MARGIN, 700), top + len(rows) * (side + GAP) + legend)
    for left, (title, below) in zip(lefts, headings, strict=True):
        write(draw, (left, 10), title, 16, bold=True)
        write(draw, (left, 30), below, 13, FAINT)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        window = window_around(row.image.shape, row.box, factor=1.25, least=8, whole=0)
        x0, y0, x1, y1 = row.box
        pictures = [row.image]
        for values in row.maps.values():
            canvas = np.full_like(row.image, 236)
            canvas[y0:y1, x0:x1] = heat(values, 0, 1)
            pictures.append(canvas)
        pictures += [three_labels(mask.astype(np.int8)) for mask in (row.mask, row.truth)]
        for column, (left, pixels) in enumerate(zip(lefts, pictures, strict=True)):
            picture, place = fitted(pixels, side, window)
            if column in (0, count - 2, count - 1):
                rectangle(ImageDraw.Draw(picture), place(row.box), INK if column else ORIGINAL, 2)
            if column == count - 2:
                Labels(picture).write(place(row.box), f"IoU {row.iou:.2f}", WHITE)
            sheet.paste(picture, (left, y))
        write_upright(sheet, (MARGIN + 22, y), side, row.name, 13)
        if index == 0 or rows[index - 1].group != row.group:
            members = sum(other.group == row.group for other in rows)
            write_upright(sheet, (MARGIN, y), members * (side + GAP) - GAP, row.group, 13, FAINT)
            if index:
                draw.line((MARGIN, y - GAP // 2, sheet.width - MARGIN, y - GAP // 2), fill=(170, 170, 168))
    y = sheet.height - legend + 8
    x = colour_bar(draw, (lefts[0], y), "0", "1")
    swatch(draw, (x + 22, y), (236, 236, 236), "outside the box nothing is predicted")
    return sheet


def masks_sheet(winner: str, rows: Sequence[ProxyRow]) -> Image.Image:
    """Figure 5: boxes, raw masks, merged ones, what is kept of them, and the ground truth; a row an image.

    winner: who gets contested pixels, in a few words
    """
    headings = [
        ("image", "boxes"),
        ("raw masks", "contested pixels white"),
        ("merged", winner),
        ("proxy masks", "agreement; dropped: dashed"),
        ("ground truth", "never seen; IoU"),
    ]
    side = (WIDTH - 2 * MARGIN - GUTTER // 2 - 4 * GAP) // 5
    top, legend = 52, 10
    sheet, draw = paper(WIDTH, top + len(rows) * (side + GAP) + legend)
    lefts = [MARGIN + GUTTER // 2 + i * (side + GAP) for i in range(5)]
    for left, (title, below) in zip(lefts, headings, strict=True):
        write(draw, (left, 10), title, 16, bold=True)
        write(draw, (left, 30), below, 13, FAINT)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        write_upright(sheet, (MARGIN, y), side, row.name, 13)
        columns = [
            _boxed(row, side),
            fitted(tinted(faded(row.image), row.raw, _colours(row)), side)[0],
            fitted(tinted(faded(row.image), row.merged, _colours(row)), side)[0],
            _proxies(row, side),
            _boxed(row, side, tinted(faded(row.image), row.truth, _colours(row)), row.ious),
        ]
        for left, picture in zip(lefts, columns, strict=True):
            sheet.paste(picture, (left, y))
    return sheet


def proxies_sheet(rows: Sequence[ProxyRow], columns: int = 4) -> Image.Image:
    """Training images with their proxy masks in colour; objects whose mask is dropped are dashed boxes."""
    columns = min(columns, max(len(rows), 2))
    side = min((WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns, 340)
    lines, legend, top = -(-len(rows) // columns), 34, 12
    width = max(2 * MARGIN + columns * (side + GAP) - GAP, 700)
    sheet, draw = paper(width, top + lines * (side + GAP) + legend)
    for index, row in enumerate(rows):
        at = (MARGIN + index % columns * (side + GAP), top + index // columns * (side + GAP))
        sheet.paste(_proxies(row, side), at)
    y = sheet.height - legend + 8
    x = swatch(draw, (MARGIN, y), OBJECTS[0], "mask and its agreement with the box")
    dashed(draw, (x + 22, y + 2, x + 50, y + 17), INK, 2)
    write(draw, (x + 57, y + 1), "dropped: a box without a mask", 13)
    return sheet


def _patch(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: PatchTile, at: tuple[int, int], side: int):
    x, y = at[0] + STRIP + 2, at[1] + STRIP + 2
    pixels = tile.image
    if tile.salient:  # about two pixels of the tile
        pixels = outlined(pixels, tile.label, ORIGINAL, -(-2 * len(tile.label) // side))
    picture, place = fitted(pixels, side)
    if not tile.salient and tile.label.any():
        ys, xs = np.flatnonzero(tile.label.any(1)), np.flatnonzero(tile.label.any(0))
        box = np.array([xs[0], ys[0], xs[-1] + 1, ys[-1] + 1])
        rectangle(ImageDraw.Draw(picture), place(box), ORIGINAL, 3)
    sheet.paste(picture, (x, y))
    for flags, across in ((tile.columns, True), (tile.rows, False)):
        edges = np.round(np.arange(len(flags) + 1) * side / len(flags)).astype(int)
        for on, low, high in zip(flags, edges, np.maximum(edges[1:], edges[:-1] + 1), strict=False):
            colour = PASTED if on else BACKGROUND
            place = (x + low, at[1], x + high - 1, at[1] + STRIP - 1)
            if not across:
                place = (at[0], y + low, at[0] + STRIP - 1, y + high - 1)
            draw.rectangle(tuple(map(int, place)), fill=colour)


def _colours(row: ProxyRow) -> np.ndarray:
    """N x 3 uint8."""
    return np.array([OBJECTS[i % len(OBJECTS)] for i in range(len(row.boxes))], np.uint8).reshape(-1, 3)


def _boxed(
    row: ProxyRow, side: int, pixels: np.ndarray | None = None, values: np.ndarray | None = None
) -> Image.Image:
    """The image, or `pixels` of its size, with all boxes and a number at each."""
    picture, place = fitted(row.image if pixels is None else pixels, side)
    draw, labels = ImageDraw.Draw(picture), Labels(picture)
    for box, colour in zip(row.boxes, _colours(row).tolist(), strict=True):
        rectangle(draw, place(box), tuple(colour), 2)
    for index, box in enumerate(row.boxes if values is not None else ()):
        labels.write(place(box), f"{values[index]:.2f}", tuple(_colours(row)[index].tolist()))
    return picture


def _proxies(row: ProxyRow, side: int) -> Image.Image:
    """Kept masks in colour; a dropped one is the dashed box. Each with its agreement."""
    colours = _colours(row)
    picture, place = fitted(tinted(faded(row.image), row.merged & row.kept[:, None, None], colours), side)
    draw, labels = ImageDraw.Draw(picture), Labels(picture)
    for box, colour, kept in zip(row.boxes, colours.tolist(), row.kept, strict=True):
        if kept:
            rectangle(draw, place(box), tuple(colour), 1)
        else:
            dashed(draw, place(box), WHITE, 2)
    for box, colour, kept, value in zip(row.boxes, colours.tolist(), row.kept, row.agreement, strict=True):
        labels.write(place(box), f"{value:.2f}", tuple(colour) if kept else WHITE)
    return picture
