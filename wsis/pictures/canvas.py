"""What sheets of pictures are drawn with: paper, tiles, boxes, words, colours. Arrays in, PIL images out.

Shapes: h x w pixels of an image. Boxes are xyxy pixels, half-open.
A sheet brings its own light ground, headings and legend, and is at most WIDTH pixels wide.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

from wsis.files import write_bytes

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
class Sheet:
    """A sheet to be drawn where it has content.

    draw: content -> picture; about: content -> caption and alternative text; absent: why it may have none
    """

    name: str
    title: str
    content: Sequence[Any]
    draw: Callable[[Any], Image.Image]
    about: Callable[[Any], tuple[str, str]]
    absent: str


def save_sheets(sheets: Sequence[Sheet], folder: Path, whence: str) -> list[dict[str, Any]]:
    """Write <name>.jpg of those with content; returns what pictures.json says about them.

    Prints which sheets have no content, and why. whence: scale, seed and run, for the captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for sheet in sheets:
        if not sheet.content:
            print(f"{whence} No sheet '{sheet.title}': {sheet.absent}.".strip(), flush=True)
            continue
        picture, (caption, alt) = sheet.draw(sheet.content), sheet.about(sheet.content)
        file = f"{sheet.name}.jpg"
        save_sheet(picture, folder / file)
        text = {"title": sheet.title, "caption": f"{caption} {whence}", "alt": alt}
        made.append({"file": file, **text, "width": picture.width, "height": picture.height})
    return made


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a JPEG of about BYTES at most, with the best quality for which it is that small. Atomic."""
    for quality in range(92, 51, -8):
        out = io.BytesIO()
        sheet.save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= BYTES:
            break
    write_bytes(path, out.getvalue())


def paper(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), GROUND)
    return sheet, ImageDraw.Draw(sheet)


def window_around(
    shape: tuple[int, ...], box: np.ndarray, factor: float = 1.7, least: int = 64, whole: int = WHOLE
) -> tuple[int, int, int, int]:
    """x0 y0 x1 y1: a square around the box, cut at the picture's edges; a small picture as a whole.

    factor, least: the square's side over the box's longer one, and its smallest; whole: the longer side up to
    which a picture counts as small.
    """
    height, width = shape[:2]
    if max(height, width) <= whole:
        return 0, 0, width, height
    side = int(max(factor * max(box[2] - box[0], box[3] - box[1]), least))
    spans = []
    for low, high, limit in ((box[0], box[2], width), (box[1], box[3], height)):
        start = int(np.clip((low + high - side) / 2, 0, max(limit - side, 0)))
        spans.append((start, min(start + side, limit)))
    (x0, x1), (y0, y1) = spans
    return x0, y0, x1, y1


def fitted(
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


def heat(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """h x w float -> h x w x 3 uint8 on the scale of `colour_bar`."""
    share = ((values - low) / max(high - low, 1e-6)).clip(0, 1)
    return (colormaps["viridis"](share)[..., :3] * 255).round().astype(np.uint8)


def rectangle(draw: ImageDraw.ImageDraw, box: Sequence[float], colour, width: int) -> None:
    """Boxes are half-open: the outline runs along the last pixels inside."""
    x0, y0, x1, y1 = (round(value) for value in box)
    draw.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=width)


def shade(share: float) -> tuple[int, ...]:
    return tuple(round(255 * part) for part in colormaps["viridis"](float(share))[:3])


@cache
def font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def write(draw: ImageDraw.ImageDraw, at, text: str, size: int, colour=INK, bold: bool = False) -> float:
    """Draw from the left; `M_prob` gets a lowered prob. Returns where the text ends."""
    x, y = at
    for index, word in enumerate(text.split(" ")):
        base, _, lower = word.partition("_")
        tail = lower[-1:] if lower[-1:] in (",", ".") else ""
        pieces = [(base, size, 0), (lower.removesuffix(tail), size - 4, size // 3), (tail, size, 0)]
        if index:
            x += font(size, bold).getlength(" ")
        for piece, height, down in pieces:
            draw.text((x, y + down), piece, fill=colour, font=font(height, bold))
            x += font(height, bold).getlength(piece)
    return x


def write_upright(
    sheet: Image.Image, at: tuple[int, int], length: int, text: str, size: int, colour=INK
) -> None:
    """Text that reads from bottom to top, in the middle of `length` pixels from `at` downwards."""
    strip = Image.new("RGB", (length, size + 6), GROUND)
    width = font(size, False).getlength(text)
    ImageDraw.Draw(strip).text(((length - width) / 2, 1), text, fill=colour, font=font(size, False))
    sheet.paste(strip.transpose(Image.Transpose.ROTATE_90), at)


def swatch(draw: ImageDraw.ImageDraw, at: tuple[float, int], colour, text: str) -> float:
    x, y = at
    draw.rectangle((x, y + 2, x + 14, y + 16), fill=colour, outline=FAINT)
    return write(draw, (x + 21, y + 1), text, 13)


def colour_bar(draw: ImageDraw.ImageDraw, at: tuple[float, int], low: str, high: str) -> float:
    """A colour bar with its two ends named. Returns where it ends."""
    x, y = at
    x = write(draw, (x, y + 1), low, 13) + 6
    for step in range(90):
        draw.line((x + step, y + 2, x + step, y + 16), fill=shade(step / 89))
    return write(draw, (x + 96, y + 1), high, 13)


def three_labels(labels: np.ndarray) -> np.ndarray:
    """h x w int8 of 1, 0 and -1 -> h x w x 3 uint8."""
    return np.array([BACKGROUND, FOREGROUND, AMBIGUOUS], np.uint8)[labels]


def faded(image: np.ndarray) -> np.ndarray:
    """Darker and greyer, so that dots stand out."""
    grey = image.mean(-1, keepdims=True)
    return (0.85 * (0.5 * image + 0.5 * grey)).astype(np.uint8)


def tinted(image: np.ndarray, masks: np.ndarray, colours: np.ndarray, share: float = 0.62) -> np.ndarray:
    """h x w x 3 uint8 under N x h x w bool masks of N x 3 colours; pixels of several masks are near white."""
    count = masks.sum(0)
    colour = np.tensordot(masks.astype(np.float32), colours.astype(np.float32), (0, 0))  # h x w x 3
    colour[count > 1] = 255
    weight = np.where(count > 1, 0.85, np.where(count > 0, share, 0.0))[..., None]
    return ((1 - weight) * image + weight * colour).round().astype(np.uint8)


def outlined(image: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int], width: int = 1) -> np.ndarray:
    """h x w x 3 uint8 with the mask's inner border, `width` pixels, in a colour. mask: h x w bool."""
    inner = mask
    for _ in range(width):
        inner = np.pad(inner, 1)
        inner = inner[1:-1, 1:-1] & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    result = image.copy()
    result[mask & ~inner] = colour
    return result


def dashed(draw: ImageDraw.ImageDraw, box: Sequence[float], colour, width: int, dash: int = 5) -> None:
    """The outline of `rectangle`, every other `dash` pixels of it."""
    x0, y0, x1, y1 = (round(value) for value in box)
    x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
    for x in range(x0, x1 + 1, 2 * dash):
        for y in (y0, y1 - width + 1):
            draw.rectangle((x, y, min(x + dash - 1, x1), y + width - 1), fill=colour)
    for y in range(y0, y1 + 1, 2 * dash):
        for x in (x0, x1 - width + 1):
            draw.rectangle((x, y, x + width - 1, min(y + dash - 1, y1)), fill=colour)


class Labels:
    """Small words at boxes of one picture that stay off each other where there is room."""

    def __init__(self, picture: Image.Image, size: int = 12) -> None:
        self.draw, self.limit, self.size = ImageDraw.Draw(picture), picture.size, size
        self.taken: list[tuple[float, ...]] = []

    def write(self, box: Sequence[float], text: str, colour) -> None:
        """At a corner of the box, on a dark ground: outside above or below it, or else inside."""
        x0, y0, x1, y1 = box
        w, h = font(self.size, False).getlength(text) + 4, self.size + 3
        heights = (y0 - h, y1, y0, y1 - h, y0 - 2 * h, y1 + h)
        corners = [(x, y) for y in heights for x in (x0, x1 - w)]
        places = [(min(max(x, 0), self.limit[0] - w), min(max(y, 0), self.limit[1] - h)) for x, y in corners]
        spots = [(x, y, x + w, y + h) for x, y in places]
        free = [spot for spot in spots if not any(_meet(spot, other) for other in self.taken)]
        spot = (free or spots)[0]
        self.taken.append(spot)
        self.draw.rectangle(spot, fill=INK)
        self.draw.text((spot[0] + 2, spot[1]), text, fill=colour, font=font(self.size, False))


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
