"""Items read ahead in processes of their own: they come out as if they were read here, in the same order."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from wsis.errors import WsisError

AHEAD = 2  # items that each process reads ahead
QUIET = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)  # sent to whole groups; the parent ends its readers


def read_ahead(item: Callable[[int], list], start: int, workers: int) -> Iterator[list]:
    """Yield item(start), item(start + 1), ... without end, read by `workers` processes with a thread each.

    Tensors come in shared memory, pinned where there is a card. `item` is called in forked processes: it sees
    what this one has read so far. Raises the WsisError that `item` raised, at its place in the order. No
    process is left when the iterator is closed, or this process killed; for a killed reader: `deaths_told`.
    """
    _raise_file_limit()
    cv2.setNumThreads(1)  # OpenCV's threads would not be there after a fork, and it would wait for them
    loader = DataLoader(
        _Items(item),
        batch_size=None,
        sampler=_From(start),
        num_workers=workers,
        prefetch_factor=AHEAD,
        collate_fn=_as_it_is,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_begin,
        multiprocessing_context="fork",
        generator=torch.Generator(),  # DataLoader would draw from the process-wide one
    )
    for found in loader:
        if isinstance(found, str):
            raise WsisError(found)
        yield found


@contextmanager
def deaths_told() -> Iterator[None]:
    """Raise a WsisError where a reader is killed: torch raises wherever this process is at that moment."""
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as error:  # the latter two: it took its tensors along
        if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
            raise
        raise WsisError(
            f"a process that reads images has died ({str(error).splitlines()[0]}); memory or /dev/shm may be"
            " full: use fewer --workers"
        ) from None


class _Items(Dataset):
    """An error is an item, too: DataLoader would wrap it in a traceback."""

    def __init__(self, item: Callable[[int], list]) -> None:
        self.item = item

    def __getitem__(self, t: int) -> list | str:
        try:
            return self.item(t)
        except WsisError as error:
            return str(error)


class _From(Sampler):
    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return count(self.start)


def _as_it_is(item: Any) -> Any:
    return item


def _begin(worker: int) -> None:
    """A reader leaves signals to its parent. It has one thread: DataLoader limits torch's, we OpenCV's."""
    for number in QUIET:
        signal.signal(number, signal.SIG_IGN)


def _raise_file_limit() -> None:
    """Every tensor that waits is an open file; the limit of many systems, 1024, is soon reached."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
