"""One rule for the pixels of every image file: read as they are, scaled, or refused.

- 8 bits a channel, palettes and greyscale become RGB; transparency is dropped.
- 16 bits grey become 8 by division by 257: 65535 is white, whatever the picture's own range.
- 32 bits and floats are refused: nothing states which value is white.
- Pixels are taken as they are stored. An EXIF orientation turns nothing. A picture whose annotated size
  is that of the turned one is refused, for its boxes may be drawn in either frame.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from wsis.errors import WsisError, brief

SIXTEEN = ("I;16", "I;16L", "I;16B", "I;16N")
REFUSED = ("I", "F")
ORIENTATION = 0x0112  # EXIF tag; 1: stored upright, 5 to 8: its sides are exchanged
UPRIGHT = "store it upright (`mogrify -auto-orient FILE`) if it was annotated upright, else remove the tag"


class PixelsRefused(ValueError):
    """Pixels that can't be brought to 8 bits."""


def eight_bit(image: Image.Image, mode: str) -> np.ndarray:
    """h x w x 3 ("RGB") or h x w ("L") uint8. Raises PixelsRefused."""
    if image.mode in REFUSED:
        raise PixelsRefused(
            f"32 bits or floats a pixel (mode {image.mode}), of which none is known to be white; save it with"
            " 8 or 16 bits"
        )
    if image.mode in SIXTEEN:
        image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    return np.asarray(image.convert(mode))


@contextmanager
def opened(path: Path, what: str) -> Iterator[Image.Image]:
    """An image file whose pixels are read inside the block; what: "image" or "mask".

    Raises WsisError naming the file where it is missing, can't be decoded, or is refused.
    """
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError:
        raise WsisError(f"{path}: missing {what}; run `wsis data check` on the root") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise WsisError(f"{path}: can't be decoded ({error}); fetch the file again") from None
    except ValueError as error:
        raise WsisError(f"{path}: {error}") from None


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that is valid."""
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture to look behind its pixels
    value = image.getexif().get(ORIENTATION, 1)
    return value if value in range(2, 9) else 1


def turned_size(image: Image.Image) -> tuple[int, int]:
    """(h, w) of the picture when it is turned as its EXIF orientation says."""
    return (image.width, image.height) if orientation(image) >= 5 else (image.height, image.width)


def is_below(name: object) -> bool:
    """Whether a file name stays below the folder it is joined to."""
    if not isinstance(name, str) or not name or name.startswith("/") or re.search("[\0\ud800-\udfff]", name):
        return False
    return ".." not in name.split("/")


def inside(folder: Path, name: str) -> Path:
    """The path of an image file below `folder`, which may be a link. The folder above it is the root.

    Raises WsisError where the name leaves the folder, or a link on the way leaves the root, and for what is
    no file, such as a pipe, which would be waited for.
    """
    if not is_below(name):
        raise WsisError(f"{folder}: file_name {brief(name)} leaves the folder of its split")
    path = folder / name
    real = os.path.realpath(path)
    if not real.startswith((_real(folder), _real(folder.parent))):
        raise WsisError(
            f"{path}: is a link that leaves the root, to {real}; copy the file, or link its folder"
        )
    try:
        kind = os.stat(real).st_mode
    except OSError:  # absent: told by what reads it
        return path
    if not stat.S_ISREG(kind):
        raise WsisError(f"{path}: not a file")
    return path


@lru_cache(maxsize=64)
def _real(folder: Path) -> str:
    return os.path.realpath(folder).rstrip("/") + "/"
