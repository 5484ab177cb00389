"""Progress of a loop: a bar with the time left on a terminal, else a line every ten seconds."""

from __future__ import annotations

import sys
import time
from typing import Any

INTERVAL = 10.0  # seconds between lines where there is no terminal


class Progress:
    """Context manager; `update(done, note)` is cheap enough for every step.

    title: what runs; total: steps in all; start: steps already done by an earlier process; enabled: False
    shows nothing (ranks other than the first).
    """

    def __init__(self, title: str, total: int, start: int = 0, enabled: bool = True) -> None:
        self.title, self.total, self.start, self.enabled = title, total, start, enabled
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> Progress:
        self.begin = self.shown = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            from rich import progress
            from rich.console import Console

            self.bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.fields[note]}"),
                console=Console(stderr=True),
            )
            self.task = self.bar.add_task(self.title, total=self.total, completed=self.start, note="")
            self.bar.start()
        return self

    def update(self, done: int, note: str | float = "") -> None:
        """`done` steps are finished; `note` (a number is shown as the loss) stands at the end of the line."""
        if not self.enabled:
            return
        now = time.monotonic()
        if now - self.shown < (0.1 if self.bar else INTERVAL):
            return
        self.shown = now
        text = f"loss {note:.4g}" if isinstance(note, float) else note
        if self.bar:
            self.bar.update(self.task, completed=done, note=text)
            return
        rate = (now - self.begin) / max(done - self.start, 1)
        left = duration(rate * (self.total - done))
        line = f"{self.title}: {done}/{self.total}, {left} left, {text}"
        print(line.rstrip(", "), file=sys.stderr, flush=True)

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self.bar:
            if kind is None:
                self.bar.update(self.task, completed=self.total)
            self.bar.stop()


def duration(seconds: float) -> str:
    """'45 s', '3:20', '2:03:20' (hours, minutes, seconds)."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
