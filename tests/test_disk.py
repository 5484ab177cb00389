"""Full and read-only disks: one line that names the file and the disk, nothing half written."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from wsis.disk import ask_for_room, disk_error, mount_of, writing
from wsis.engine.log import StepLog
from wsis.errors import WsisError
from wsis.files import write_json
from wsis.proxy.generate import write_proxies

Usage = namedtuple("Usage", "total used free")


def test_the_file_the_disk_and_what_to_do_are_named(tmp_path):
    with pytest.raises(WsisError) as told, writing(tmp_path / "x"):
        raise OSError(errno.ENOSPC, "No space left on device")
    text = f"{tmp_path / 'x'}: can't be written: No space left on device ("
    assert str(told.value).startswith(text) and "\n" not in str(told.value)
    assert f"MB free on the disk at {mount_of(tmp_path)}): make room, then start again" in str(told.value)
    assert "mend the disk" in disk_error(OSError(errno.EROFS, "Read-only file system", str(tmp_path)))
    assert disk_error(OSError(errno.ENOENT, "No such file", "x")) is None
    assert mount_of(Path("/proc/self/none/x")) == Path("/proc")


def test_room_is_asked_for_before(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**10, 9 * 10**9, 10**9))
    runs = {tmp_path / "runs" / name: 0.45 for name in "ab"}
    ask_for_room({})
    ask_for_room(runs)
    runs[tmp_path / "runs" / "c"] = 0.2
    with pytest.raises(WsisError, match=r"runs: 3 run\(s\) take about 1.1 GB more, 1 GB are free on"):
        ask_for_room(runs)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    with open(tmp_path / "runs" / "a" / "model", "wb") as file:
        file.truncate(2 * 10**8)  # that it holds already
    ask_for_room(runs)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 16 KB; only an administrator of Linux can have one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or os.system(f"mount -t tmpfs -o size=16k tmpfs {disk} 2>/dev/null"):
        pytest.skip("no disk can be mounted here")
    yield disk
    os.system(f"umount {disk}")


def test_a_full_disk_keeps_what_there_was_and_goes_on_once_there_is_room(small_disk):
    write_json(small_disk / "a.json", [1])
    with pytest.raises(WsisError, match=rf"a\.json: can't be written: No space .*disk at {small_disk}\)"):
        write_json(small_disk / "a.json", [*range(10_000)])
    assert (small_disk / "a.json").read_text() == "[\n 1\n]\n" and len([*small_disk.iterdir()]) == 1
    log = StepLog(small_disk / "log.jsonl")
    with pytest.raises(WsisError, match=r"log\.jsonl: can't be written: No space left on device"):
        for step in range(10_000):
            log.add({"iteration": step, "losses": {}})
    os.system(f"mount -o remount,size=1m {small_disk}")
    write_json(small_disk / "a.json", [*range(10_000)])
    resumed = StepLog(small_disk / "log.jsonl")
    resumed.add({"iteration": 0})
    resumed.close()
    assert (small_disk / "log.jsonl").read_text() == '{"iteration":0}\n'


def test_proxy_masks_go_on_after_a_full_disk(small_disk):
    def images(ids):
        made.extend(ids)
        for id in ids:
            yield {"image_id": id, "file_name": "x" * 400, "height": 1, "width": 1, "objects": []}

    made, path, ids = [], small_disk / "0-of-1.jsonl.gz", [*range(1, 60)]
    with pytest.raises(WsisError, match=r"jsonl\.gz\.part: can't be written: No space left on device"):
        write_proxies(path, ids, images, {"run": "a"}, show=False)
    os.system(f"mount -o remount,size=1m {small_disk}")
    made.clear()
    write_proxies(path, ids, images, {"run": "a"}, show=False)
    assert 0 < len(made) < len(ids) and path.exists()


def test_a_read_only_disk_is_refused_before(small_disk):
    os.system(f"mount -o remount,ro {small_disk}")
    with pytest.raises(WsisError, match=r"the disk at .* is read-only; give another folder with --results"):
        ask_for_room({small_disk / "runs" / "a": 0.001})
    with pytest.raises(WsisError, match=r"a\.json: can't be written: Read-only file system"):
        write_json(small_disk / "a.json", 1)
