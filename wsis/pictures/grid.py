"""Sheets of pictures: one grid of square tiles with headings, names of its rows, and a legend below.

What a sheet shows is data (`Sheet`, `Row`, `Tile` and their marks), which one function draws.
A sheet brings its own light ground and is WIDTH pixels wide.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from wsis.checksums import sealed
from wsis.pictures.canvas import (
    FAINT,
    GROUND,
    INK,
    OTHER,
    Colour,
    Labels,
    Window,
    fitted,
    font,
    meet,
    rectangle,
    shade,
    write,
    write_upright,
)

WIDTH, LARGEST = 1100, 360  # pixels, of a sheet and of a tile at most
BYTES = 300_000  # of a saved sheet, approximately
GAP, MARGIN, GUTTER, LINE, HEADING = 6, 14, 22, 24, 52  # pixels
FRAME, DASH, BAR = 5, 5, 90


@dataclass
class Box:
    """An outline (of width 0: none) and words at a corner of it. box: xyxy pixels of the tile's picture."""

    box: Sequence[float]
    colour: Colour
    width: int = 2
    dashed: bool = False
    text: str = ""

    def draw(self, pen: ImageDraw.ImageDraw, place: Callable) -> None:
        if self.width:
            rectangle(pen, place(self.box), self.colour, self.width, DASH if self.dashed else 0)


@dataclass
class Dot:
    """x, y: pixels of the tile's picture; radius: pixels of the sheet."""

    x: float
    y: float
    radius: float
    colour: Colour
    rim: Colour

    def draw(self, pen: ImageDraw.ImageDraw, place: Callable) -> None:
        x, y = place((self.x, self.y, self.x, self.y))[:2]
        bounds = (x - self.radius, y - self.radius, x + self.radius, y + self.radius)
        pen.ellipse(bounds, fill=self.colour, outline=self.rim, width=2)


@dataclass
class Tile:
    """A square of the grid.

    pixels: h x w x 3 uint8, of which the window is shown, None: all
    marks:  what is drawn on it, in order; words come last and stay off each other
    frame:  the colour of a frame around it
    """

    pixels: np.ndarray
    window: Window | None = None
    marks: Sequence[Box | Dot] = ()
    frame: Colour | None = None

    def draw(self, side: int) -> Image.Image:
        border = FRAME if self.frame else 0
        picture, place = fitted(self.pixels, side - 2 * border, self.window)
        pen, labels = ImageDraw.Draw(picture), Labels(picture)
        for mark in self.marks:
            mark.draw(pen, place)
        for mark in self.marks:
            if isinstance(mark, Box) and mark.text and meet(place(mark.box), (0, 0, *picture.size)):
                labels.write(place(mark.box), mark.text, mark.colour)
        return ImageOps.expand(picture, border, self.frame) if self.frame else picture


@dataclass
class Row:
    """Tiles side by side. name: of the row; group: of all neighbouring rows that have the same one."""

    tiles: Sequence[Tile]
    name: str = ""
    group: str = ""


@dataclass
class Key:
    """Colours and what they mean, in a legend."""

    text: str
    colours: Sequence[Colour]
    dashed: bool = False

    @property
    def width(self) -> float:
        return self.step * len(self.colours) + 5 + font().getlength(self.text)

    @property
    def step(self) -> int:
        return 30 if self.dashed else 16

    def draw(self, pen: ImageDraw.ImageDraw, x: float, y: int) -> None:
        for colour in self.colours:
            if self.dashed:
                rectangle(pen, (x, y + 2, x + 25, y + 17), colour, 2, DASH)
            else:
                pen.rectangle((x, y + 2, x + 14, y + 16), fill=colour, outline=FAINT)
            x += self.step
        write(pen, x + 5, y + 1, self.text)


@dataclass
class Bar:
    """The colours of `heat` with their two ends named, in a legend."""

    low: str
    high: str

    @property
    def width(self) -> float:
        return font().getlength(self.low) + font().getlength(self.high) + BAR + 12

    def draw(self, pen: ImageDraw.ImageDraw, x: float, y: int) -> None:
        write(pen, x, y + 1, self.low)
        x += font().getlength(self.low) + 6
        for step in range(BAR):
            pen.line((x + step, y + 2, x + step, y + 16), fill=shade(step / (BAR - 1)))
        write(pen, x + BAR + 6, y + 1, self.high)


@dataclass
class Sheet:
    """A grid and its words.

    name: of the file; title, caption, alt: for the report; absent: why it may have no rows
    headings: a title and a few words for each column, or none
    """

    name: str
    title: str
    rows: Sequence[Row]
    headings: Sequence[tuple[str, str]]
    legend: Sequence[Key | Bar]
    caption: str
    alt: str
    absent: str = ""


def wrapped(tiles: Sequence[Tile], columns: int, group: str = "") -> list[Row]:
    """Rows of as many tiles as there are columns, one after the other."""
    return [Row(tiles[start : start + columns], group=group) for start in range(0, len(tiles), columns)]


def draw_sheet(sheet: Sheet) -> Image.Image:
    rows, count = sheet.rows, max(len(row.tiles) for row in sheet.rows)
    names = MARGIN + GUTTER * any(row.group for row in rows)
    left = names + GUTTER * any(row.name for row in rows)
    side = min((WIDTH - MARGIN - left - (count - 1) * GAP) // count, LARGEST)
    lines = _lines(sheet.legend, WIDTH - MARGIN - left)
    top, step = HEADING if sheet.headings else MARGIN, side + GAP
    bottom = top + len(rows) * step
    image = Image.new("RGB", (WIDTH, bottom + LINE * len(lines) + GAP), GROUND)
    pen = ImageDraw.Draw(image)
    for column, (title, words) in enumerate(sheet.headings):
        pen.text((left + column * step, 10), title, fill=INK, font=font(16, bold=True))
        write(pen, left + column * step, 30, words, FAINT)
    for index, row in enumerate(rows):
        y = top + index * step
        for column, tile in enumerate(row.tiles):
            image.paste(tile.draw(side), (left + column * step, y))
        if row.name:
            write_upright(image, names, y, side, row.name)
        if row.group and (index == 0 or rows[index - 1].group != row.group):
            members = sum(other.group == row.group for other in rows)
            write_upright(image, MARGIN, y, members * step - GAP, row.group, FAINT)
            if index and members > 1:
                pen.line((MARGIN, y - GAP // 2, WIDTH - MARGIN, y - GAP // 2), fill=OTHER)
    for number, line in enumerate(lines):
        for x, key in line:
            key.draw(pen, left + x, bottom + 2 + LINE * number)
    return image


def _lines(legend: Sequence[Key | Bar], width: int) -> list[list[tuple[float, Key | Bar]]]:
    """The legend's keys with where each begins, in as many lines as they need."""
    lines: list[list[tuple[float, Key | Bar]]] = []
    x = width + 1.0
    for key in legend:
        if x + key.width > width:
            lines.append([])
            x = 0
        lines[-1].append((x, key))
        x += key.width + GUTTER
    return lines


def save_sheets(sheets: Sequence[Sheet], folder: Path, whence: str) -> list[dict[str, Any]]:
    """Write <name>.jpg of those with rows; returns what pictures.json says about them.

    Prints which sheets have no rows, and why. whence: scale, seed and run, for the captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for sheet in sheets:
        if not sheet.rows:
            print(f"{whence} No sheet '{sheet.title}': {sheet.absent}.", flush=True)
            continue
        image, file = draw_sheet(sheet), f"{sheet.name}.jpg"
        content = _jpeg(image)
        with sealed(folder / file) as out:
            out.write(content)
        words = {"title": sheet.title, "caption": f"{sheet.caption} {whence}", "alt": sheet.alt}
        entries.append({"file": file, **words, "width": image.width, "height": image.height})
    return entries


def _jpeg(image: Image.Image) -> bytes:
    """About BYTES at most, with the best quality for which it is that small."""
    for quality in range(92, 51, -8):
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality, subsampling=0)
        if out.tell() <= BYTES:
            break
    return out.getvalue()
