"""Processes that read ahead: order, errors, threads, signals, and that none outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import cv2
import pytest
import torch

from wsis.data.ahead import read_ahead
from wsis.errors import WsisError


def about(t):
    """What a reader is, and the item."""
    return [t, os.getpid(), torch.get_num_threads(), cv2.getNumThreads(), torch.full((3,), t)]


def alive(pid):
    """Whether the process runs (a zombie doesn't)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds=15):
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def test_items_come_in_order_from_readers_with_one_thread_each():
    stream = read_ahead(about, 4, 2)
    found = list(islice(stream, 9))
    assert [item[0] for item in found] == list(range(4, 13))
    assert all(item[4].tolist() == [item[0]] * 3 for item in found)
    assert {tuple(item[2:4]) for item in found} == {(1, 1)}
    readers = {item[1] for item in found}
    assert len(readers) == 2 and os.getpid() not in readers
    stream.close()
    assert gone(readers)


def test_a_signal_to_the_group_leaves_them_to_their_parent():
    stream = read_ahead(about, 0, 1)
    pid = next(stream)[1]
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        os.kill(pid, number)
    assert [item[0] for item in islice(stream, 6)] == list(range(1, 7))
    stream.close()
    assert gone([pid])


def test_an_error_comes_at_its_place_and_in_one_line():
    def item(t):
        if t == 5:
            raise WsisError("image 7: broken")
        return [t]

    stream = read_ahead(item, 3, 2)
    assert [next(stream), next(stream)] == [[3], [4]]
    with pytest.raises(WsisError, match=r"^image 7: broken$"):
        next(stream)


def test_a_killed_reader_is_told():
    """In a process of its own: torch raises wherever that one is when it hears of the death."""
    code = (
        "import os, signal\n"
        "from wsis.data.ahead import deaths_told, read_ahead\n"
        "with deaths_told():\n"
        "    stream = read_ahead(lambda t: [os.getpid()], 0, 1)\n"
        "    os.kill(next(stream)[0], signal.SIGKILL)\n"
        "    for _ in range(100):\n"
        "        next(stream)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 1 and "WsisError: a process that reads images has died" in run.stderr


def test_none_outlives_a_killed_parent():
    code = (
        "import os, time\n"
        "from wsis.data.ahead import read_ahead\n"
        "stream = read_ahead(lambda t: [os.getpid()], 0, 2)\n"
        "print(*{next(stream)[0] for _ in range(6)}, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        readers = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(readers) == 2 and all(map(alive, readers))
        parent.kill()
    assert gone(readers)
