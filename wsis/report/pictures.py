"""Pictures of what a run does (<run>/pictures/pictures.json), for the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsis.checksums import verify
from wsis.errors import WsisError
from wsis.files import read_json
from wsis.report.markup import data_uri

_KINDS = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


@dataclass
class Picture:
    """An image with its words. uri: the file as data URI; width, height: pixels."""

    title: str
    caption: str
    alt: str
    uri: str
    width: int
    height: int


@dataclass
class Pictures:
    """A run's pictures, and the row and the seed that it is shown for."""

    label: str
    seed: int
    pictures: list[Picture]


def read_pictures(run: Path) -> list[Picture]:
    """The pictures in the folder of a run, in their order; an empty list where there are none.

    Raises WsisError, naming the file, for an index of another form and for an image that is absent or is
    neither PNG nor JPEG.
    """
    index = run / "pictures" / "pictures.json"
    if not index.is_file():
        return []
    verify(index)
    entries = read_json(index)
    try:
        return [
            Picture(
                title=str(entry["title"]),
                caption=str(entry["caption"]),
                alt=str(entry["alt"]),
                uri=_uri(index.parent / Path(entry["file"]).name),
                width=int(entry["width"]),
                height=int(entry["height"]),
            )
            for entry in entries
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise WsisError(f"{index}: not a list of pictures: {error!r}") from None


def _uri(path: Path) -> str:
    if path.suffix.lower() not in _KINDS:
        raise WsisError(f"{path}: pictures are PNG or JPEG files")
    verify(path, "delete the folder and draw its pictures again")
    try:
        return data_uri(path.read_bytes(), _KINDS[path.suffix.lower()])
    except OSError as error:
        raise WsisError(f"{path}: cannot be read: {error}") from None
