"""`wsis data check ROOT`: say what is wrong with a data root, without a traceback.

A *problem* makes a training or an evaluation fail or lie; a *note* is handled and only told. Every finding
names the file, the id where there is one, and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

DECODE_UP_TO = 2000  # images: smaller roots are decoded in full unless told otherwise
READERS = 2  # threads
FETCH = "fetch the file again"
SHOWN = 10  # findings of one kind that `lines` prints
ENDINGS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}


@dataclass(frozen=True)
class Finding:
    """kind: short and the same for findings of one sort; file; id of an image or annotation, if any."""

    kind: str
    file: str
    text: str
    advice: str
    id: int | str | None = None

    def __str__(self) -> str:
        where = self.file if self.id is None else f"{self.file} (id {self.id})"
        return f"{where}: {self.text}; {self.advice}"


@dataclass
class CheckReport:
    """layout: "coco", "voc", "salient" or "unknown"; counts: what was looked at, by name."""

    root: Path
    layout: str
    problems: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.problems

    def problem(self, kind: str, file: object, text: str, advice: str, id: int | str | None = None) -> None:
        self.problems.append(Finding(kind, str(file), text, advice, id))

    def note(self, kind: str, file: object, text: str, advice: str, id: int | str | None = None) -> None:
        self.notes.append(Finding(kind, str(file), text, advice, id))

    def count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def lines(self) -> list[str]:
        """The report as text: at most SHOWN findings of a kind, then how many more there are."""
        counted = ", ".join(f"{number} {name}" for name, number in self.counts.items())
        lines = [f"{self.root}: {self.layout} layout; {counted or 'nothing counted'}"]
        for title, findings in (("problem", self.problems), ("note", self.notes)):
            kinds: dict[str, list[Finding]] = {}
            for finding in findings:
                kinds.setdefault(finding.kind, []).append(finding)
            for kind, group in kinds.items():
                lines += [f"{title}: {finding}" for finding in group[:SHOWN]]
                if len(group) > SHOWN:
                    lines.append(f"{title}: {len(group) - SHOWN} more of '{kind}'")
        lines.append("ok" if self.ok else f"{len(self.problems)} problem(s)")
        return lines

    def __str__(self) -> str:
        return "\n".join(self.lines())


def check_root(path: Path, decode: bool | None = None) -> CheckReport:
    """Check a COCO, VOC or saliency root (a `shapes` root is COCO's layout and may hold a saliency root).

    decode: decode every image in full; None: only where a split has at most DECODE_UP_TO images, else look at
    headers and file endings. Never raises on what it finds; a missing root is a problem too.
    """
    from wsis.data.check.coco import check_coco
    from wsis.data.check.salient import check_salient
    from wsis.data.check.voc import check_voc

    path = Path(path)
    report = CheckReport(path, "unknown")
    if not path.is_dir():
        report.problem("root", path, "no such folder", "give the root folder of a data set")
        return report
    images = Images(report, decode)
    if (path / "annotations").is_dir():
        report.layout = "coco"
        check_coco(path, report, images)
        if (path / "salient").is_dir():
            check_salient(path / "salient", report, images)
    elif (path / "ImageSets").is_dir():
        report.layout = "voc"
        check_voc(path, report, images)
    elif any((path / name).exists() for name in ("masks", "DUTS-TR-Mask", "train.txt")):
        report.layout = "salient"
        check_salient(path, report, images)
    else:
        text = (
            "is not a data root: it has neither annotations/ (COCO), ImageSets/ (VOC) nor masks/ (saliency)"
        )
        report.problem("root", path, text, "give the folder that holds them")
    return report


def official_count(report: CheckReport, file: Path, images: int, expected: int | None) -> None:
    """Note whether a split has the official number of images; `expected` None: not an official split."""
    if expected is None:
        return
    if images == expected:
        report.note("official", file, f"{images} images, the official count", "nothing to do")
    else:
        text = f"{images} images, where the official set has {expected}"
        advice = "fine for a small run; numbers are not comparable with the papers'"
        report.note("official", file, text, advice)


@dataclass
class Images:
    """Looks at image files and reports what it finds."""

    report: CheckReport
    decode: bool | None

    def check(self, wanted: Iterable[tuple[Path, int | str, tuple[int, int] | None]]) -> None:
        """Files with their ids and annotated (height, width), None where nothing says it."""
        wanted = list(wanted)
        decode = len(wanted) <= DECODE_UP_TO if self.decode is None else self.decode
        look: Callable = lambda entry: self._look(*entry, decode)  # noqa: E731
        grey = []
        with ThreadPoolExecutor(READERS) as pool:
            for (path, id, _), (problem, is_grey) in zip(wanted, pool.map(look, wanted), strict=True):
                if problem:
                    self.report.problem(problem[0], path, *problem[1:], id=id)
                if is_grey:
                    grey.append((path, id))
        self.report.count("images", len(wanted))
        if grey:
            path, id = grey[0]
            text = f"greyscale, as {len(grey)} image(s) here"
            self.report.note("grey", path, text, "handled: read as RGB", id)

    def _look(
        self, path: Path, id: int | str, size: tuple[int, int] | None, decode: bool
    ) -> tuple[tuple[str, str, str] | None, bool]:
        """((kind, text, advice) of a problem or None, whether the image is grey)."""
        try:
            with Image.open(path) as file:
                grey, actual = file.mode in ("1", "L", "LA", "I;16"), (file.height, file.width)
                if decode or not _ends(path, file.format):
                    file.load()
        except FileNotFoundError:
            advice = "put it there, or take it out of the annotations"
            return ("missing", "the image is missing", advice), False
        except Image.DecompressionBombError:
            return ("huge", "more pixels than can be read safely", "replace the image"), False
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            return ("unreadable", f"truncated or not an image ({_short(error, path)})", FETCH), False
        if size is not None and actual != size:
            text = f"is {actual[1]}x{actual[0]} (width x height), its annotation says {size[1]}x{size[0]}"
            return ("size", text, "correct the annotation, or fetch the original image"), grey
        return None, grey


def read_png(path: Path) -> np.ndarray | str:
    """Values or palette indices of a one-channel PNG, h x w; or a sentence saying why it can't be read."""
    try:
        with Image.open(path) as file:
            if file.mode not in ("1", "L", "P"):
                return f"has mode {file.mode}, expected one channel"
            return np.asarray(file)
    except FileNotFoundError:
        return "is missing"
    except (OSError, SyntaxError, ValueError, EOFError) as error:
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
