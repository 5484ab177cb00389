"""Drawings, kept from one report to the next: what did not change is not drawn again.

Drawing takes ten times as long as reading a kept drawing. A report has a hundred drawings, and a workflow
writes the report each time that a table is complete.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsis.checksums import verify
from wsis.errors import WsisError
from wsis.files import checksum_file, read_json
from wsis.records import write_record

# What draws, beside this file.
CODE = (
    "agreement.py", "axes.py", "curves.py", "drawn.py", "effect_plots.py", "masks.py", "plots.py",
    "site/curves.svg", "style.py",
)  # fmt: skip


@dataclass
class Plot:
    """A drawing as inline SVG, its caption in words, and the PNG of those that become files."""

    svg: str
    caption: str
    png: bytes | None = None


@dataclass
class Strip:
    """A row of tiles. uri: the picture as data URI; width, height: pixels; alt: what it shows."""

    label: str
    uri: str
    width: int
    height: int
    alt: str


@dataclass
class Panel:
    """Ground truth and one strip a row, over the same images."""

    truth: Strip
    rows: list[Strip]
    images: list[str]  # file names, in tile order


class Drawings:
    """The drawings in a folder. A file's name is a digest of what it shows and of the code that draws it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._used: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(version("matplotlib").encode())
        for name in CODE:
            digest.update((Path(__file__).parent / name).read_bytes())
        self._code = digest.hexdigest()

    def plot(self, shows: Any, draw: Callable[[], Plot | None]) -> Plot | None:
        """The plot of `shows`, kept or drawn now. shows: JSON, or objects whose repr tells them apart."""

        def plain(plot: Plot) -> dict[str, Any]:
            png = None if plot.png is None else base64.b64encode(plot.png).decode()
            return {"svg": plot.svg, "caption": plot.caption, "png": png}

        def drawn(tree: dict[str, Any]) -> Plot:
            return Plot(tree["svg"], tree["caption"], tree["png"] and base64.b64decode(tree["png"]))

        return self._drawing("plot", shows, draw, plain, drawn)

    def panel(self, shows: Any, draw: Callable[[], Panel | None]) -> Panel | None:
        """The same for a panel of masks."""

        def drawn(tree: dict[str, Any]) -> Panel:
            return Panel(Strip(**tree["truth"]), [Strip(**row) for row in tree["rows"]], tree["images"])

        return self._drawing("panel", shows, draw, asdict, drawn)

    def forget_others(self) -> None:
        """Remove the drawings that nobody asked for: they are out of date."""
        for path in self.folder.iterdir():
            if path.name not in self._used:
                path.unlink(missing_ok=True)

    def _drawing(
        self,
        kind: str,
        shows: Any,
        draw: Callable[[], Any],
        plain: Callable[[Any], Any],
        drawn: Callable[[Any], Any],
    ) -> Any:
        """The drawing of `shows`. plain: it as JSON; drawn: from JSON again."""
        identity = json.dumps([self._code, kind, shows], default=repr)
        path = self.folder / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.json"
        self._used |= {path.name, checksum_file(path).name}
        try:
            verify(path)
            tree = read_json(path)
            return None if tree is None else drawn(tree)
        except (WsisError, KeyError, TypeError, ValueError):  # not drawn yet, or damaged
            drawing = draw()
            write_record(path, None if drawing is None else plain(drawing))
            return drawing


def draw(function: str, *arguments: Any) -> Any:
    """Call "module:function" of wsis.report, imported only now: a report without news needs no matplotlib."""
    module, name = function.split(":")
    return getattr(import_module(f"wsis.report.{module}"), name)(*arguments)


def stamp(path: Path) -> list[Any]:
    """Path, size and time of a file, which change with its content; [path] where there is none."""
    try:
        status = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), status.st_size, status.st_mtime_ns]
