"""Sheets of pictures that show how BAISeg gets from boundaries to instances. Arrays in, PIL images out.

Shapes: h x w pixels of an image, M annotated objects, N instances. Boxes are xyxy pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from wsis.data.voc import VOID
from wsis.pictures.canvas import (
    FAINT,
    GAP,
    GROUND,
    GUTTER,
    INK,
    MARGIN,
    OBJECTS,
    WIDTH,
    Labels,
    colour_bar,
    faded,
    fitted,
    heat,
    paper,
    swatch,
    write,
    write_upright,
)

EXTRA = [(150, 150, 152), (92, 92, 96), (198, 198, 196)]  # instances that are no object's best match
APART, JOINED = (0, 158, 115), (213, 70, 20)  # of a pair
OTHER_CLASSES = (206, 206, 202)  # where the semantic map has an object of any class
LEAST = 0.001  # response at the lower end of the colours; they are logarithmic
STRONG, WEAK = 0.9, 0.45  # share of a colour on pixels of a seed, and on those flooded from it
TOP, LEGEND, FRAME = 52, 56, 5  # pixels


@dataclass
class Seen:
    """What a trained run makes of an image.

    boundary: h x w float32 in [0, 1] and lines: h x w bool; None: the run extracts without a boundary map
    semantic: h x w uint8, 0 background; seeds, regions: h x w int32, label map before and after watershed
    region_instances: what instance a region becomes, (1 + regions) int, -1 none
    instances: h x w int32, 0 none, else position + 1; boxes: N x 4; scores: N
    objects: N int, the annotated object that an instance matches best, -1 none; ious: M, of those matches
    apart: whether the pair of touching objects is separated (`wsis.methods.baiseg.boundary.separated`)
    """

    boundary: np.ndarray | None
    lines: np.ndarray | None
    semantic: np.ndarray
    seeds: np.ndarray
    regions: np.ndarray
    region_instances: np.ndarray
    instances: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    objects: np.ndarray
    ious: np.ndarray
    apart: bool


@dataclass
class ContactRow:
    """An image with two touching objects of one class, its first two, and what one or two runs make of it.

    image: h x w x 3 uint8; window: x0 y0 x1 y1, what is shown of it; truth: h x w int32, 0 none, else the
    object's position + 1; boxes: M x 4
    """

    name: str
    kind: str
    image: np.ndarray
    window: tuple[int, int, int, int]
    truth: np.ndarray
    boxes: np.ndarray
    seen: list[Seen]


def steps_sheet(rows: Sequence[ContactRow]) -> Image.Image:
    """Boundary map, thinned boundary, label map, instances and the annotated objects; a row an image."""
    headings = [
        ("image", ""),
        ("boundary map", "probability, log scale"),
        ("thinned", "above the threshold"),
        ("label map", "seeds; flooded: pale"),
        ("instances", "score"),
        ("ground truth", "never seen; IoU"),
    ]

    def tiles(row: ContactRow, side: int) -> list[Image.Image]:
        seen = row.seen[0]
        return [
            fitted(row.image, side, row.window)[0],
            _boundary(row, seen, side),
            _lines(row, seen, side),
            fitted(_label_map(seen), side, row.window)[0],
            _instances(row, seen, side),
            _truth(row, side, seen.ious),
        ]

    sheet, draw, left = _grid(rows, headings, tiles)
    y = sheet.height - LEGEND + 6
    x = colour_bar(draw, (left, y), f"{LEAST:g}", "1")
    x = swatch(draw, (x + 22, y), INK, "boundary pixel")
    swatch(draw, (x + 22, y), OTHER_CLASSES, "an object by the semantic map, of any class")
    _object_colours(draw, left, y + 24)
    return sheet


def contrast_sheet(names: tuple[str, str], rows: Sequence[ContactRow]) -> Image.Image:
    """Boundary map and instances of two runs, framed by whether they tell the pair apart; a row an image.

    names: of the runs, in a few words
    """
    headings = [("image", ""), *((what, name) for name in names for what in ("boundary map", "instances"))]
    headings.append(("ground truth", "never seen"))

    def tiles(row: ContactRow, side: int) -> list[Image.Image]:
        found = [fitted(row.image, side, row.window)[0]]
        for seen in row.seen:
            framed = Image.new("RGB", (side, side), APART if seen.apart else JOINED)
            framed.paste(_instances(row, seen, side - 2 * FRAME), (FRAME, FRAME))
            found += [_boundary(row, seen, side), framed]
        return [*found, _truth(row, side)]

    sheet, draw, left = _grid(rows, headings, tiles)
    y = sheet.height - LEGEND + 6
    x = colour_bar(draw, (left, y), f"{LEAST:g}", "1")
    x = swatch(draw, (x + 22, y), APART, "green frame: the two touching objects are told apart")
    swatch(draw, (x + 22, y), JOINED, "red frame: they are not")
    _object_colours(draw, left, y + 24)
    return sheet


def _grid(
    rows: Sequence[ContactRow],
    headings: Sequence[tuple[str, str]],
    tiles: Callable[[ContactRow, int], list[Image.Image]],
) -> tuple[Image.Image, ImageDraw.ImageDraw, int]:
    """The sheet with its headings and tiles, room for a legend below; where the tiles begin.

    tiles: a row, the side of a tile -> one tile a heading
    """
    count = len(headings)
    side = (WIDTH - 2 * MARGIN - GUTTER - (count - 1) * GAP) // count
    sheet, draw = paper(WIDTH, TOP + len(rows) * (side + GAP) + LEGEND)
    lefts = [MARGIN + GUTTER + i * (side + GAP) for i in range(count)]
    for left, (title, below) in zip(lefts, headings, strict=True):
        write(draw, (left, 10), title, 16, bold=True)
        write(draw, (left, 30), below, 13, FAINT)
    for index, row in enumerate(rows):
        y = TOP + index * (side + GAP)
        write_upright(sheet, (MARGIN, y), side, row.name, 13, FAINT)
        write_upright(sheet, (MARGIN + 22, y), side, row.kind, 13)
        for left, tile in zip(lefts, tiles(row, side), strict=True):
            sheet.paste(tile, (left, y))
    return sheet, draw, lefts[0]


def _object_colours(draw: ImageDraw.ImageDraw, x: float, y: int) -> None:
    for index, colour in enumerate(OBJECTS[:4]):
        draw.rectangle((x + 16 * index, y + 2, x + 16 * index + 14, y + 16), fill=colour, outline=FAINT)
    x = write(draw, (x + 71, y + 1), "an object, and the instance that matches it best (one each)", 13) + 22
    for index, colour in enumerate(EXTRA):
        draw.rectangle((x + 16 * index, y + 2, x + 16 * index + 14, y + 16), fill=colour, outline=FAINT)
    write(draw, (x + 55, y + 1), "an instance that matches none", 13)


def colours(objects: np.ndarray) -> np.ndarray:
    """N positions of objects, -1 for none -> N x 3 uint8."""
    named, extra = np.array(OBJECTS, np.uint8), np.array(EXTRA, np.uint8)
    none = objects < 0
    order = np.cumsum(none) - 1  # neighbours among those without an object differ
    return np.where(none[:, None], extra[order % len(extra)], named[objects % len(named)])


def _boundary(row: ContactRow, seen: Seen, side: int) -> Image.Image:
    if seen.boundary is None:
        return Image.new("RGB", (side, side), OTHER_CLASSES)
    low = np.log10(LEAST)
    values = np.log10(np.maximum(seen.boundary, LEAST))
    return fitted(heat(values, low, 0), side, row.window)[0]


def _lines(row: ContactRow, seen: Seen, side: int) -> Image.Image:
    """Boundary pixels on what the semantic map calls an object. Lines stay visible in small pictures."""
    pixels = np.full_like(row.image, GROUND)
    pixels[(seen.semantic > 0) & (seen.semantic != VOID)] = OTHER_CLASSES
    if seen.lines is not None:
        x0, y0, x1, y1 = row.window
        width = max(1, max(x1 - x0, y1 - y0) // side)
        pixels[cv2.dilate(seen.lines.astype(np.uint8), np.ones((width, width), np.uint8)) > 0] = INK
    return fitted(pixels, side, row.window)[0]


def _label_map(seen: Seen) -> np.ndarray:
    """h x w x 3 uint8: regions that become instances in colour, others in none; seeds strong."""
    of_region = np.full((len(seen.region_instances), 3), GROUND, np.float32)
    real = seen.region_instances >= 0
    of_region[real] = colours(seen.objects)[seen.region_instances[real]]
    share = np.where(seen.seeds > 0, STRONG, WEAK)[..., None]
    paper_colour = np.array(GROUND, np.float32)
    return (share * of_region[seen.regions] + (1 - share) * paper_colour).round().astype(np.uint8)


def _instances(row: ContactRow, seen: Seen, side: int) -> Image.Image:
    """Instances in their colours; the scores of those that match one of the first objects."""
    return _objects(row, seen.instances, seen.objects, seen.boxes, seen.scores, side)


def _truth(row: ContactRow, side: int, ious: np.ndarray | None = None) -> Image.Image:
    return _objects(row, row.truth, np.arange(len(row.boxes)), row.boxes, ious, side)


def _objects(
    row: ContactRow,
    labels: np.ndarray,
    objects: np.ndarray,
    boxes: np.ndarray,
    values: np.ndarray | None,
    side: int,
) -> Image.Image:
    """h x w positions + 1 as colours over the image; numbers at those with a colour of their own."""
    of_object = colours(objects)
    pixels = faded(row.image)
    inside = labels > 0
    pixels[inside] = (0.35 * pixels[inside] + 0.65 * of_object[labels[inside] - 1]).round()
    picture, place = fitted(pixels, side, row.window)
    words = Labels(picture)
    x0, y0, x1, y1 = row.window
    own = (objects >= 0) & (objects < len(OBJECTS))
    for index in np.flatnonzero(own) if values is not None else ():
        left, top, right, bottom = boxes[index]
        if left < x1 and right > x0 and top < y1 and bottom > y0:
            words.write(place(boxes[index]), f"{values[index]:.2f}", tuple(of_object[index].tolist()))
    return picture
