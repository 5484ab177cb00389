"""Look at image files: whether they can be read, their size, and what the rule for pixels does with them."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from wsis.data.check.report import FETCH, CheckReport
from wsis.data.pixels import REFUSED, SIXTEEN, UPRIGHT, PixelsRefused, eight_bit, orientation, turned_size

DECODE_UP_TO = 2000  # images: smaller roots are decoded in full unless told otherwise
READERS = 2  # threads
DARK = 4095  # largest value of a 16-bit picture that holds 12 bits or fewer
ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
BROKEN = (OSError, SyntaxError, ValueError, EOFError)
Problem = tuple[str, str, str]  # kind, text, advice
GREY, DEEP, FAINT, TURNED, UNCLEAR = range(5)  # what a look may find besides
WORDS = {
    GREY: ("grey", "greyscale", "handled: read as RGB"),
    DEEP: ("16 bits", "16 bits a pixel", "handled: scaled to 8 bits, 65535 becomes white"),
    FAINT: ("dark", f"16 bits a pixel, none above {DARK}", "nearly black when scaled: stretch it first"),
    UNCLEAR: ("exif", "stored with an EXIF orientation", f"read as stored; if boxes look turned, {UPRIGHT}"),
}


@dataclass
class Images:
    """Looks at image files and reports what it finds."""

    report: CheckReport
    decode: bool | None

    def check(self, wanted: Iterable[tuple[Path, int | str, tuple[int, int] | None]]) -> set[int | str]:
        """Look at files with their ids and annotated (height, width), None where nothing says it.

        Returns the ids of those that are stored turned.
        """
        wanted = list(wanted)
        decode = len(wanted) <= DECODE_UP_TO if self.decode is None else self.decode
        traits: dict[int, list[tuple[Path, int | str]]] = {}
        with ThreadPoolExecutor(READERS) as pool:
            looks = pool.map(lambda entry: look(entry[0], entry[2], decode), wanted)
            for (path, id, _), (problem, kinds) in zip(wanted, looks, strict=True):
                if problem:
                    self.report.problem(problem[0], path, *problem[1:], id=id)
                for kind in kinds:
                    traits.setdefault(kind, []).append((path, id))
        self.report.count("images", len(wanted))
        if TURNED in traits:  # these show that annotations are of upright pictures: then all are
            for path, id in traits.pop(UNCLEAR, ()):
                text = "is stored turned (EXIF orientation), as others are that were annotated upright"
                self.report.problem("exif", path, text, UPRIGHT, id)
        for kind, (name, text, advice) in WORDS.items():
            if kind in traits:
                path, id = traits[kind][0]
                self.report.note(name, path, f"{text}, as {len(traits[kind])} image(s) here", advice, id)
        return {id for _, id in traits.get(TURNED, ())}


def look(path: Path, size: tuple[int, int] | None, decode: bool) -> tuple[Problem | None, list[int]]:
    """What is wrong with an image file, and what else is to be told of it."""
    kinds: list[int] = []
    try:
        with Image.open(path) as file:
            if file.mode in ("1", "L", "LA", *SIXTEEN):
                kinds.append(GREY)
            actual, upright, turn = (file.height, file.width), turned_size(file), orientation(file)
            if file.mode in REFUSED:
                eight_bit(file, "RGB")
            if decode or not _ends(path, file.format):
                file.load()
                if file.mode in SIXTEEN and np.asarray(file).max(initial=0) <= DARK:
                    kinds.append(FAINT)
            if file.mode in SIXTEEN:
                kinds.append(DEEP)
    except FileNotFoundError:
        return ("missing", "the image is missing", _instead(path)), []
    except Image.DecompressionBombError:
        return ("huge", "more pixels than can be read safely", "replace the image"), []
    except PixelsRefused as error:
        text, _, advice = str(error).partition("; ")
        return ("pixels", text, advice), []
    except BROKEN as error:
        return ("unreadable", f"truncated or not an image ({_short(error, path)})", FETCH), []
    if size is not None and actual != size:
        if upright == size:
            text = (
                f"is stored turned (EXIF orientation {turn}): {actual[1]}x{actual[0]} (width x height), its"
                f" annotation says {size[1]}x{size[0]}"
            )
            return ("exif", text, UPRIGHT), [*kinds, TURNED]
        text = f"is {actual[1]}x{actual[0]} (width x height), its annotation says {size[1]}x{size[0]}"
        return ("size", text, "correct the annotation, or fetch the original image"), kinds
    return None, [*kinds, UNCLEAR] if turn > 1 and upright == actual else kinds


def _instead(path: Path) -> str:
    """What to do about a missing file: it may be there under a name with other capitals or another ending."""
    there = _stems(path.parent).get(path.stem.lower())
    if there is not None:
        return f"{there} is there: rename it, or correct the annotation's file name"
    return "put it there, or take it out of the annotations"


@cache
def _stems(folder: Path) -> dict[str, str]:
    """File names of a folder by their stems in small letters."""
    return {path.stem.lower(): path.name for path in folder.glob("*")} if folder.is_dir() else {}


def read_png(path: Path) -> np.ndarray | str:
    """Values or palette indices of a one-channel PNG, h x w; or a sentence saying why it can't be read."""
    try:
        with Image.open(path) as file:
            if file.mode not in ("1", "L", "P"):
                return f"has mode {file.mode}, expected one channel"
            return np.asarray(file)
    except FileNotFoundError:
        return "is missing"
    except BROKEN as error:
        return f"is truncated or not an image ({_short(error, path)})"


def _ends(path: Path, kind: str | None) -> bool:
    """Whether the file ends as its format demands; False for a format that is not in ENDINGS."""
    ending = ENDINGS.get(kind or "")
    with path.open("rb") as file:
        file.seek(0, 2)
        file.seek(max(file.tell() - 64, 0))
        return ending is not None and ending in file.read()


def _short(error: Exception, path: Path) -> str:
    return str(error).replace(repr(str(path)), "the file").replace(str(path), "the file")
