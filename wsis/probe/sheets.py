"""Sheets of pictures that show what SIM does, after its Figures 4, 6, 7 and 8. Arrays in, PIL images out.

Shapes: h x w pixels of the network input's valid part, N boxes, M positive locations. Boxes are xyxy pixels.
A sheet brings its own light ground, headings and legend, and is at most WIDTH pixels wide.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from wsis.evaluation.files import write_bytes

WIDTH = 1100
BYTES = 300_000  # of a saved sheet, approximately
GAP, MARGIN, GUTTER = 6, 14, 44
WHOLE = 128  # pixels: larger pictures are shown around the object
GROUND, INK, FAINT = (250, 250, 247), (28, 28, 30), (110, 110, 112)
FOREGROUND, BACKGROUND, AMBIGUOUS = (0, 114, 178), (222, 222, 218), (230, 159, 0)
ORIGINAL, PASTED, OTHER, WHITE = (0, 158, 255), (255, 122, 0), (190, 190, 190), (255, 255, 255)
PINK = (255, 77, 141)
OBJECTS = [(255, 176, 0), (0, 158, 255), PINK, (0, 214, 143), (186, 104, 255), (240, 240, 60)]


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
    sheet, draw = _paper(WIDTH, top + len(rows) * (side + GAP) + legend)
    lefts = [MARGIN + GUTTER + i * (side + GAP) for i in range(6)]
    for left, (title, symbol) in zip(lefts, headings, strict=True):
        _text(draw, (left, 10), title, 16, bold=True)
        _text(draw, (left, 30), symbol, 13, FAINT)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        window = _window(row.image.shape, row.box)
        tiles = [
            row.image,
            _coloured(row.semantic, low, high),
            _coloured(row.instance, 0, 1),
            _coloured(row.corrected, 0, 1),
            _labels(row.pseudo),
            _labels(row.truth.astype(np.int8)),
        ]
        for left, (column, tile) in zip(lefts, enumerate(tiles), strict=True):
            picture, place = _tile(tile, side, window)
            outline = ImageDraw.Draw(picture)
            if column == 0:
                for box in row.others:
                    _rectangle(outline, place(box), ORIGINAL, 1)
            _rectangle(outline, place(row.box), (PINK, WHITE, WHITE, WHITE, INK, INK)[column], 2)
            sheet.paste(picture, (left, y))
        _upright(sheet, (MARGIN + 22, y), side, row.name, 13)
        if index == 0 or rows[index - 1].group != row.group:
            members = sum(other.group == row.group for other in rows)
            _upright(sheet, (MARGIN, y), members * (side + GAP) - GAP, row.group, 13, FAINT)
            if index:
                draw.line((MARGIN, y - GAP // 2, WIDTH - MARGIN, y - GAP // 2), fill=(170, 170, 168))
    y = sheet.height - legend + 8
    x = _scale(draw, (lefts[0], y), "low", "high")
    for colour, what in (
        (FOREGROUND, "foreground"),
        (BACKGROUND, "background"),
        (AMBIGUOUS, "ambiguous: not supervised"),
        (PINK, "the row's object"),
        (ORIGINAL, "others"),
    ):
        x = _swatch(draw, (x + 22, y), colour, what)
    return sheet


def weights_sheet(tiles: Sequence[WeightTile], columns: int = 3) -> Image.Image:
    """Figure 7: a dot at each positive location, its colour and area the weight over the object's largest.

    A dot's rim has the colour of its object's box.
    """
    side = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) // columns
    lines, caption, top, legend = -(-len(tiles) // columns), 24, 12, 36
    sheet, draw = _paper(WIDTH, top + lines * (side + caption + GAP) + legend)
    for index, tile in enumerate(tiles):
        x = MARGIN + index % columns * (side + GAP)
        y = top + index // columns * (side + caption + GAP)
        _text(draw, (x, y), tile.name, 14, bold=True)
        picture, place = _tile(_faded(tile.image), side)
        outline = ImageDraw.Draw(picture)
        for number, box in enumerate(tile.boxes):
            _rectangle(outline, place(box), OBJECTS[number % len(OBJECTS)], 2)
        for point, number, share in sorted(
            zip(tile.points, tile.owner, _relative(tile), strict=True), key=lambda dot: -dot[2]
        ):
            px, py = place(np.tile(point, 2))[:2]
            _dot(outline, px, py, share, OBJECTS[number % len(OBJECTS)], scale=side / 350)
        sheet.paste(picture, (x, y + caption))
    y = sheet.height - legend + 8
    x = _scale(draw, (MARGIN, y), "weight 0", "the object's largest")
    for share in (0.1, 0.5, 1.0):
        _dot(draw, x + 30, y + 9, share, FAINT)
        x = _text(draw, (x + 44, y + 1), f"{share:g}", 13)
    return sheet


def paste_sheet(rows: Sequence[PasteRow]) -> Image.Image:
    """Figures 4 and 8: source image, target image and the composite that is trained on, a row each."""
    side, top, legend = 300, 34, 36
    width = 2 * MARGIN + 3 * side + 2 * GAP
    sheet, draw = _paper(width, top + len(rows) * (side + GAP) + legend)
    for column, title in enumerate(("source, from the bank", "target", "pasted training image")):
        _text(draw, (MARGIN + column * (side + GAP), 9), title, 16, bold=True)
    for index, row in enumerate(rows):
        y = top + index * (side + GAP)
        tiles = [
            (row.source, row.source_boxes, np.where(row.taken[:, None], PASTED, OTHER)),
            (row.target, row.target_boxes, np.tile(ORIGINAL, (len(row.target_boxes), 1))),
            (row.result, row.result_boxes, np.where(row.pasted[:, None], PASTED, ORIGINAL)),
        ]
        for column, (image, boxes, colours) in enumerate(tiles):
            picture, place = _tile(image, side)
            outline = ImageDraw.Draw(picture)
            for box, colour in zip(boxes, colours.tolist(), strict=True):
                _rectangle(outline, place(box), tuple(colour), 2)
            sheet.paste(picture, (MARGIN + column * (side + GAP), y))
    x, y = MARGIN - 22, sheet.height - legend + 8
    for colour, what in (
        (ORIGINAL, "object of the target"),
        (PASTED, "pasted object"),
        (OTHER, "object of the source that stays there"),
    ):
        x = _swatch(draw, (x + 22, y), colour, what)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a JPEG of about BYTES at most, with the best quality for which it is that small. Atomic."""
    for quality in range(92, 51, -8):
        out = io.BytesIO()
        sheet.save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= BYTES:
            break
    write_bytes(path, out.getvalue())


def _paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), GROUND)
    return sheet, ImageDraw.Draw(sheet)


def _window(shape: tuple[int, ...], box: np.ndarray) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1: a small picture as a whole, of a larger one a square around the box."""
    height, width = shape[:2]
    if max(height, width) <= WHOLE:
        return 0, 0, width, height
    side = int(max(1.7 * max(box[2] - box[0], box[3] - box[1]), 64))
    spans = []
    for low, high, limit in ((box[0], box[2], width), (box[1], box[3], height)):
        start = int(np.clip((low + high - side) / 2, 0, max(limit - side, 0)))
        spans.append((start, min(start + side, limit)))
    (x0, x1), (y0, y1) = spans
    return x0, y0, x1, y1


def _tile(
    pixels: np.ndarray, side: int, window: tuple[int, int, int, int] | None = None
) -> tuple[Image.Image, Callable[[np.ndarray], tuple[float, ...]]]:
    """The window of h x w x 3 uint8 `pixels` fitted into a square, and a function that brings boxes there.

    Pixels that become larger stay sharp squares of equal size: they are repeated, then averaged to size.
    """
    x0, y0, x1, y1 = window or (0, 0, pixels.shape[1], pixels.shape[0])
    part = Image.fromarray(np.ascontiguousarray(pixels[y0:y1, x0:x1]))
    scale = side / max(part.size)
    size = tuple(max(1, round(length * scale)) for length in part.size)
    if scale > 1:
        factor = -(-side // max(part.size))
        part = part.resize([length * factor for length in part.size], Image.Resampling.NEAREST)
        part = part.resize(size, Image.Resampling.BOX)
    else:
        part = part.resize(size, Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (side, side), (236, 236, 232))
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    tile.paste(part, (left, top))

    def place(box: np.ndarray) -> tuple[float, ...]:
        bounds = np.array([left, top, left, top]) + (np.asarray(box, float) - (x0, y0, x0, y0)) * scale
        return tuple(bounds.tolist())

    return tile, place


def _coloured(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """h x w float -> h x w x 3 uint8 on the scale of `_scale`."""
    share = ((values - low) / max(high - low, 1e-6)).clip(0, 1)
    return (colormaps["viridis"](share)[..., :3] * 255).round().astype(np.uint8)


def _labels(labels: np.ndarray) -> np.ndarray:
    """h x w int8 of 1, 0 and -1 -> h x w x 3 uint8."""
    return np.array([BACKGROUND, FOREGROUND, AMBIGUOUS], np.uint8)[labels]


def _faded(image: np.ndarray) -> np.ndarray:
    """Darker and greyer, so that dots stand out."""
    grey = image.mean(-1, keepdims=True)
    return (0.85 * (0.5 * image + 0.5 * grey)).astype(np.uint8)


def _relative(tile: WeightTile) -> np.ndarray:
    """M float in [0, 1]: weights over the largest of the same object."""
    largest = np.zeros(len(tile.boxes))
    np.maximum.at(largest, tile.owner, tile.weights)
    return tile.weights / np.maximum(largest[tile.owner], 1e-12)


def _rectangle(draw: ImageDraw.ImageDraw, box: Sequence[float], colour, width: int) -> None:
    """Boxes are half-open: the outline runs along the last pixels inside."""
    x0, y0, x1, y1 = (round(value) for value in box)
    draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=width)


def _dot(draw: ImageDraw.ImageDraw, x: float, y: float, share: float, rim, scale: float = 1.0) -> None:
    radius = (2.5 + 8.5 * np.sqrt(share)) * scale
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_shade(share), outline=rim, width=2)


def _shade(share: float) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colormaps["viridis"](float(share))[:3])


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _text(draw: ImageDraw.ImageDraw, at, text: str, size: int, colour=INK, bold: bool = False) -> float:
    """Draw from the left; `M_prob` gets a lowered prob. Returns where the text ends."""
    x, y = at
    for index, word in enumerate(text.split(" ")):
        base, _, lower = word.partition("_")
        tail = lower[-1:] if lower[-1:] in (",", ".") else ""
        pieces = [(base, size, 0), (lower.removesuffix(tail), size - 4, size // 3), (tail, size, 0)]
        if index:
            x += _font(size, bold).getlength(" ")
        for piece, height, down in pieces:
            draw.text((x, y + down), piece, fill=colour, font=_font(height, bold))
            x += _font(height, bold).getlength(piece)
    return x


def _upright(sheet: Image.Image, at: tuple[int, int], length: int, text: str, size: int, colour=INK) -> None:
    """Text that reads from bottom to top, in the middle of `length` pixels from `at` downwards."""
    strip = Image.new("RGB", (length, size + 6), GROUND)
    width = _font(size, False).getlength(text)
    ImageDraw.Draw(strip).text(((length - width) / 2, 1), text, fill=colour, font=_font(size, False))
    sheet.paste(strip.transpose(Image.Transpose.ROTATE_90), at)


def _swatch(draw: ImageDraw.ImageDraw, at: tuple[float, int], colour, text: str) -> float:
    x, y = at
    draw.rectangle((x, y + 2, x + 14, y + 16), fill=colour, outline=FAINT)
    return _text(draw, (x + 21, y + 1), text, 13)


def _scale(draw: ImageDraw.ImageDraw, at: tuple[float, int], low: str, high: str) -> float:
    """A colour bar with its two ends named. Returns where it ends."""
    x, y = at
    x = _text(draw, (x, y + 1), low, 13) + 6
    for step in range(90):
        draw.line((x + step, y + 2, x + step, y + 16), fill=_shade(step / 89))
    return _text(draw, (x + 96, y + 1), high, 13)
