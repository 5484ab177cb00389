"""Pictures as files beside the page, loaded when they come into view; drawings hold them as data URIs."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace
from pathlib import Path

from wsis.files import write_bytes
from wsis.report.drawn import Panel
from wsis.report.pictures import Pictures

ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}


class Assets:
    """The folder pictures/ of a report. A file's name is a digest of its content."""

    def __init__(self, out: Path):
        self.folder = out / "pictures"
        self._used: set[str] = set()

    def panel(self, panel: Panel | None) -> Panel | None:
        """The panel with addresses of files instead of data."""
        if panel is None:
            return None
        truth, *rows = (replace(strip, uri=self._file(strip.uri)) for strip in (panel.truth, *panel.rows))
        return Panel(truth, rows, panel.images)

    def pictures(self, pictures: Pictures) -> Pictures:
        return replace(
            pictures, pictures=[replace(each, uri=self._file(each.uri)) for each in pictures.pictures]
        )

    def forget_others(self) -> None:
        """Remove the files that no picture of this report is in."""
        for path in self.folder.glob("*"):
            if path.name not in self._used:
                path.unlink()

    def _file(self, uri: str) -> str:
        """Write the content of a data URI; returns its address relative to the page."""
        head, _, data = uri.partition(",")
        content = base64.b64decode(data)
        kind = head.removeprefix("data:").partition(";")[0]
        name = f"{hashlib.sha256(content).hexdigest()[:20]}.{ENDINGS[kind]}"
        self._used.add(name)
        if not (self.folder / name).exists():
            write_bytes(self.folder / name, content)
        return f"pictures/{name}"
