"""Sheets of pictures that show what SIM does, after its Figures 4, 6, 7 and 8. Arrays in, PIL images out.

Shapes: h x w pixels of the network input's valid part, N boxes, M positive locations. Boxes are xyxy pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from wsis.pictures.canvas import (
    AMBIGUOUS,
    BACKGROUND,
    FAINT,
    FOREGROUND,
    GAP,
    GUTTER,
    INK,
    MARGIN,
    OBJECTS,
    ORIGINAL,
    OTHER,
    PASTED,
    PINK,
    WHITE,
    WIDTH,
    colour_bar,
    faded,
    fitted,
    heat,
    paper,
    rectangle,
    shade,
    swatch,
    three_labels,
    window_around,
    write,
    write_upright,
)


@dataclass
class MapRow:
    """One object. image: h x w x 3 uint8; box: 4; others: N x 4, the image's other objects.

    semantic, instance, corrected: h x w float in [0, 1] (M_S, M_I, M_prob of Eqs. 1, 6 and 7);
    pseudo: h x w int8, 1 foreground, 0 background, -1 ambiguous (W = 0); truth: h x w bool.
    """

    group: str
    name: str
    image: np.ndarray
    box: np.ndarray
    others: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    corrected: np.ndarray
    pseudo: np.ndarray
    truth: np.ndarray


@dataclass
class WeightTile:
    """One image. boxes: N x 4; points: M x 2 (x, y); owner: M, row of `boxes`; weights: M, of Eq. 6."""

    name: str
    image: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    owner: np.ndarray
    weights: np.ndarray


@dataclass
class PasteRow:
    """One composite. Images are h x w x 3 uint8; boxes N x 4; `taken` and `pasted` N bool."""

    source: np.ndarray
    source_boxes: np.ndarray
    taken: np.ndarray
    target: np.ndarray
    target_boxes: np.ndarray
    result: np.ndarray
    result_boxes: np.ndarray
    pasted: np.ndarray


def maps_sheet(rows: Sequence[MapRow]) -> Image.Image:
    """Figure 6: image, M_S, M_I, M_prob, pseudo mask and ground truth of each object, a row an object.

    M_S has its own colour scale, from its smallest to its largest value on the sheet: at tau = 1 it can't
    leave [0.27, 0.73].
    """
    low, high = min(row.semantic.min() for row in rows), max(row.semantic.max() for row in rows)
    headings = [
        ("image", "boxes"),
        ("semantic", f"M_S, {low:.2f} to {high:.2f}"),
        ("instance", "M_I, 0 to 1"),
        ("corrected", "M_prob, 0 to 1"),
        ("pseudo mask", "two thresholds"),
        ("ground truth", "never seen"),
    ]
    side = (WIDTH - 2 * MARGIN - GUTTER - 5 * GAP) // 6
    top, legend = 52, 34
    sheet, draw = paper(WIDTH, top + len(rows) * (side + GAP) + legend)
    lefts = [MARGIN + GUTTER + i * (side + GAP) for i in range(6)]
    for left, (title, symbol) in zip(lefts, headings, strict=True):
        write(draw, (left, 10), title, 16, bold=True)
        write(draw, (left, 30), symbol, 13, FAINT)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        window = window_around(row.image.shape, row.box)
        tiles = [
            row.image,
            heat(row.semantic, low, high),
            heat(row.instance, 0, 1),
            heat(row.corrected, 0, 1),
            three_labels(row.pseudo),
            three_labels(row.truth.astype(np.int8)),
        ]
        for left, (column, tile) in zip(lefts, enumerate(tiles), strict=True):
            picture, place = fitted(tile, side, window)
            outline = ImageDraw.Draw(picture)
            if column == 0:
                for box in row.others:
                    rectangle(outline, place(box), ORIGINAL, 1)
            rectangle(outline, place(row.box), (PINK, WHITE, WHITE, WHITE, INK, INK)[column], 2)
            sheet.paste(picture, (left, y))
        write_upright(sheet, (MARGIN + 22, y), side, row.name, 13)
        if index == 0 or rows[index - 1].group != row.group:
            members = sum(other.group == row.group for other in rows)
            write_upright(sheet, (MARGIN, y), members * (side + GAP) - GAP, row.group, 13, FAINT)
            if index:
                draw.line((MARGIN, y - GAP // 2, WIDTH - MARGIN, y - GAP // 2), fill=(170, 170, 168))
    y = sheet.height - legend + 8
    x = colour_bar(draw, (lefts[0], y), "low", "high")
    for colour, what in (
        (FOREGROUND, "foreground"),
        (BACKGROUND, "background"),
        (AMBIGUOUS, "ambiguous: not supervised"),
        (PINK, "the row's object"),
        (ORIGINAL, "others"),
    ):
        x = swatch(draw, (x + 22, y), colour, what)
    return sheet


def weights_sheet(tiles: Sequence[WeightTile], columns: int = 3) -> Image.Image:
    """Figure 7: a dot at each positive location, its colour and area the weight over the object's largest.

    A dot's rim has the colour of its object's box.
    """
    side = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    lines, caption, top, legend = -(-len(tiles) // columns), 24, 12, 36
    sheet, draw = paper(WIDTH, top + lines * (side + caption + GAP) + legend)
    for index, tile in enumerate(tiles):
        x = MARGIN + index % columns * (side + GAP)
        y = top + index // columns * (side + caption + GAP)
        write(draw, (x, y), tile.name, 14, bold=True)
        picture, place = fitted(faded(tile.image), side)
        outline = ImageDraw.Draw(picture)
        for number, box in enumerate(tile.boxes):
            rectangle(outline, place(box), OBJECTS[number % len(OBJECTS)], 2)
        for point, number, share in sorted(
            zip(tile.points, tile.owner, _relative(tile), strict=True), key=lambda dot: -dot[2]
        ):
            px, py = place(np.tile(point, 2))[:2]
            _dot(outline, px, py, share, OBJECTS[number % len(OBJECTS)], scale=side / 350)
        sheet.paste(picture, (x, y + caption))
    y = sheet.height - legend + 8
    x = colour_bar(draw, (MARGIN, y), "weight 0", "the object's largest")
    for share in (0.1, 0.5, 1.0):
        _dot(draw, x + 30, y + 9, share, FAINT)
        x = write(draw, (x + 44, y + 1), f"{share:g}", 13)
    return sheet


def paste_sheet(rows: Sequence[PasteRow]) -> Image.Image:
    """Figures 4 and 8: source image, target image and the composite that is trained on, a row each."""
    side, top, legend = 300, 34, 36
    width = 2 * MARGIN + 3 * side + 2 * GAP
    sheet, draw = paper(width, top + len(rows) * (side + GAP) + legend)
    for column, title in enumerate(("source, from the bank", "target", "pasted training image")):
        write(draw, (MARGIN + column * (side + GAP), 9), title, 16, bold=True)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        tiles = [
            (row.source, row.source_boxes, np.where(row.taken[:, None], PASTED, OTHER)),
            (row.target, row.target_boxes, np.tile(ORIGINAL, (len(row.target_boxes), 1))),
            (row.result, row.result_boxes, np.where(row.pasted[:, None], PASTED, ORIGINAL)),
        ]
        for column, (image, boxes, colours) in enumerate(tiles):
            picture, place = fitted(image, side)
            outline = ImageDraw.Draw(picture)
            for box, colour in zip(boxes, colours.tolist(), strict=True):
                rectangle(outline, place(box), tuple(colour), 2)
            sheet.paste(picture, (MARGIN + column * (side + GAP), y))
    x, y = MARGIN - 22, sheet.height - legend + 8
    for colour, what in (
        (ORIGINAL, "object of the target"),
        (PASTED, "pasted object"),
        (OTHER, "object of the source that stays there"),
    ):
        x = swatch(draw, (x + 22, y), colour, what)
    return sheet


def _relative(tile: WeightTile) -> np.ndarray:
    """M float in [0, 1]: weights over the largest of the same object."""
    largest = np.zeros(len(tile.boxes))
    np.maximum.at(largest, tile.owner, tile.weights)
    return tile.weights / np.maximum(largest[tile.owner], 1e-12)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, share: float, rim, scale: float = 1.0) -> None:
    radius = (2.5 + 8.5 * np.sqrt(share)) * scale
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=shade(share), outline=rim, width=2)
