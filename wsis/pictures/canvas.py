"""What tiles are made of: colours, pixels, outlines and words. Arrays and PIL images; no layout.

Shapes: h x w pixels of an image. Boxes are xyxy pixels, half-open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Window = tuple[int, int, int, int]  # x0 y0 x1 y1

WHOLE = 128  # pixels: larger pictures are shown around the object
TEXT = 13  # pixels, of what is neither a heading nor a label
GROUND, INK, FAINT, WHITE = (250, 250, 247), (28, 28, 30), (110, 110, 112), (255, 255, 255)
EMPTY = (236, 236, 232)  # of a tile, beside a picture that isn't square
FOREGROUND, BACKGROUND, AMBIGUOUS = (0, 114, 178), (222, 222, 218), (230, 159, 0)
ORIGINAL, PASTED, OTHER, PINK = (0, 158, 255), (255, 122, 0), (190, 190, 190), (255, 77, 141)
OBJECTS = [(255, 176, 0), (0, 158, 255), PINK, (0, 214, 143), (186, 104, 255), (240, 240, 60)]


def object_colour(position: int) -> Colour:
    return OBJECTS[position % len(OBJECTS)]


def window_around(
    shape: tuple[int, ...], box: np.ndarray, factor: float = 1.7, least: int = 64, whole: int = WHOLE
) -> Window:
    """A square around the box, cut at the picture's edges; a small picture as a whole.

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
    pixels: np.ndarray, side: int, window: Window | None = None
) -> tuple[Image.Image, Callable[[Sequence[float]], tuple[float, ...]]]:
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
    square = Image.new("RGB", (side, side), EMPTY)
    left, top = (side - size[0]) // 2, (side - size[1]) // 2
    square.paste(part, (left, top))

    def place(box: Sequence[float]) -> tuple[float, ...]:
        bounds = np.array([left, top, left, top]) + (np.asarray(box, float) - (x0, y0, x0, y0)) * scale
        return tuple(bounds.tolist())

    return square, place


def shade(share: float) -> Colour:
    return tuple(round(255 * part) for part in colormaps["viridis"](float(share))[:3])


def heat(values: np.ndarray, low: float = 0, high: float = 1) -> np.ndarray:
    """h x w float -> h x w x 3 uint8 on the scale of `shade`."""
    share = ((values - low) / max(high - low, 1e-6)).clip(0, 1)
    return (colormaps["viridis"](share)[..., :3] * 255).round().astype(np.uint8)


def three_labels(labels: np.ndarray) -> np.ndarray:
    """h x w bool, or int8 of 1, 0 and -1, -> h x w x 3 uint8: foreground, background, ambiguous."""
    return np.array([BACKGROUND, FOREGROUND, AMBIGUOUS], np.uint8)[labels.astype(np.int8)]


def faded(image: np.ndarray) -> np.ndarray:
    """Darker and greyer, so that what is drawn on it stands out."""
    grey = image.mean(-1, keepdims=True)
    return (0.85 * (0.5 * image + 0.5 * grey)).astype(np.uint8)


def tinted(image: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The faded image under N x h x w bool masks in the objects' colours; where several meet near white."""
    colours = np.array([object_colour(i) for i in range(len(masks))], np.float32).reshape(-1, 3)
    count = masks.sum(0)
    colour = np.tensordot(masks.astype(np.float32), colours, (0, 0))  # h x w x 3
    colour[count > 1] = 255
    weight = np.where(count > 1, 0.85, np.where(count > 0, 0.62, 0.0))[..., None]
    return ((1 - weight) * faded(image) + weight * colour).round().astype(np.uint8)


def outlined(image: np.ndarray, mask: np.ndarray, colour: Colour, width: int) -> np.ndarray:
    """h x w x 3 uint8 with the mask's inner border, `width` pixels, in a colour. mask: h x w bool."""
    inner = mask
    for _ in range(width):
        inner = np.pad(inner, 1)
        inner = inner[1:-1, 1:-1] & inner[:-2, 1:-1] & inner[2:, 1:-1] & inner[1:-1, :-2] & inner[1:-1, 2:]
    result = image.copy()
    result[mask & ~inner] = colour
    return result


def rectangle(pen: ImageDraw.ImageDraw, box: Sequence[float], colour: Colour, width: int, dash: int = 0):
    """Draw an outline on the last pixels inside a box. dash: pixels of each dash and each gap; 0: no gaps."""
    x0, y0, x1, y1 = (round(value) for value in box)
    x1, y1 = max(x1 - 1, x0), max(y1 - 1, y0)
    if not dash:
        pen.rectangle((x0, y0, x1, y1), outline=colour, width=width)
        return
    for x in range(x0, x1 + 1, 2 * dash):
        for y in (y0, y1 - width + 1):
            pen.rectangle((x, y, min(x + dash - 1, x1), y + width - 1), fill=colour)
    for y in range(y0, y1 + 1, 2 * dash):
        for x in (x0, x1 - width + 1):
            pen.rectangle((x, y, x + width - 1, min(y + dash - 1, y1)), fill=colour)


@cache
def font(size: int = TEXT, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def write(pen: ImageDraw.ImageDraw, x: float, y: float, text: str, colour: Colour = INK) -> None:
    """Draw from the left; `M_prob` gets a lowered prob."""
    for index, word in enumerate(text.split(" ")):
        base, _, lower = word.partition("_")
        tail = lower[-1:] if lower[-1:] in (",", ".") else ""
        x += font().getlength(" ") if index else 0
        pieces = (base, TEXT, 0), (lower.removesuffix(tail), TEXT - 4, TEXT // 3), (tail, TEXT, 0)
        for piece, height, down in pieces:
            pen.text((x, y + down), piece, fill=colour, font=font(height))
            x += font(height).getlength(piece)


def write_upright(sheet: Image.Image, x: int, y: int, length: int, text: str, colour: Colour = INK) -> None:
    """Text that reads from bottom to top, in the middle of `length` pixels from (x, y) downwards."""
    strip = Image.new("RGB", (length, TEXT + 6), GROUND)
    left = (length - font().getlength(text)) / 2
    ImageDraw.Draw(strip).text((left, 1), text, fill=colour, font=font())
    sheet.paste(strip.transpose(Image.Transpose.ROTATE_90), (x, y))


class Labels:
    """Small words at boxes of one picture that stay off each other where there is room."""

    def __init__(self, picture: Image.Image, size: int = 12) -> None:
        self.pen, self.limit, self.size = ImageDraw.Draw(picture), picture.size, size
        self.taken: list[tuple[float, ...]] = []

    def write(self, box: Sequence[float], text: str, colour: Colour) -> None:
        """At a corner of the box, on a dark ground: outside above or below it, or else inside."""
        x0, y0, x1, y1 = box
        w, h = font(self.size).getlength(text) + 4, self.size + 3
        heights = (y0 - h, y1, y0, y1 - h, y0 - 2 * h, y1 + h)
        corners = [(x, y) for y in heights for x in (x0, x1 - w)]
        places = [(min(max(x, 0), self.limit[0] - w), min(max(y, 0), self.limit[1] - h)) for x, y in corners]
        spots = [(x, y, x + w, y + h) for x, y in places]
        free = [spot for spot in spots if not any(meet(spot, other) for other in self.taken)]
        spot = (free or spots)[0]
        self.taken.append(spot)
        self.pen.rectangle(spot, fill=INK)
        self.pen.text((spot[0] + 2, spot[1]), text, fill=colour, font=font(self.size))


def meet(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes share a point inside."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
