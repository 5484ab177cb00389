"""SIGTERM and SIGUSR1 ask a training to write a checkpoint and stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType

from wsis.errors import WsisError

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(WsisError):
    """A training stopped by a signal after its checkpoint was written; `status` is the exit status to use."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class StopRequest:
    """While entered, the first SIGTERM or SIGUSR1 only sets `signal` (its number; 0 before)."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> StopRequest:
        self.main = threading.current_thread() is threading.main_thread()
        if self.main:
            self.former = {number: signal.signal(number, self._set) for number in SIGNALS}
        return self

    def _set(self, number: int, frame: FrameType | None) -> None:
        self.signal = self.signal or number

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.main:
            for number, handler in self.former.items():
                signal.signal(number, handler)
