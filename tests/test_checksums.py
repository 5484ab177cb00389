"""A damaged file is found whatever byte is wrong; a kill leaves no file with another's checksum."""

import os
import random
import subprocess

import pytest

from wsis.checksums import (
    LIST,
    DamagedFile,
    fault,
    faults,
    move,
    recorded,
    remove,
    seal,
    seal_folder,
    sealed,
    verify,
)
from wsis.errors import WsisError
from wsis.files import checksum_file, digest, write_bytes

CONTENT = random.Random(1).randbytes(5000)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    with sealed(path) as file:
        file.write(CONTENT[:10])
        file.write(CONTENT[10:])
    return path


def damage(path, content):
    """As a disk does it: the file's time stays."""
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_what_was_written_is_whole(path):
    assert path.read_bytes() == CONTENT and fault(path) is None and fault(path, whole=False) is None
    assert recorded(path) == digest(path)
    verify(path)


def test_any_flipped_bit_is_found(path):
    draw = random.Random(2)
    for _ in range(100):
        content = bytearray(CONTENT)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        damage(path, content)
        with pytest.raises(DamagedFile, match=r"model\.safetensors: damaged: .*checksum differs.*delete it"):
            verify(path)
    damage(path, CONTENT)
    verify(path)


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"\0"])
def test_another_length_is_found_without_reading(path, content):
    damage(path, content)
    assert f"has {len(content)} bytes instead of 5000" in fault(path, whole=False)


def test_content_is_read_only_where_the_time_is_another(path):
    content = b"x" + CONTENT[1:]
    damage(path, content)
    assert fault(path, whole=False) is None and fault(path)
    os.utime(path)
    assert fault(path, whole=False)
    damage(path, CONTENT)  # a copy
    os.utime(path)
    assert fault(path, whole=False) is None


def test_a_file_without_a_checksum_is_taken_as_it_is_and_a_missing_one_is_not(path):
    checksum_file(path).unlink()
    assert fault(path) is None and recorded(path) is None
    path.unlink()
    assert fault(path) == "is missing"


@pytest.mark.parametrize("content", [b"", b"\xff", b"x" * 64 + b"  model.safetensors\n"])
def test_a_damaged_checksum_is_no_checksum(path, content):
    checksum_file(path).write_bytes(content)
    assert "damaged checksum" in fault(path) and recorded(path) is None


def test_a_moved_file_keeps_its_checksum_and_takes_none_over(path):
    other = path.with_name("other")
    with sealed(other) as file:
        file.write(b"other")
    move(path, other)
    assert fault(other) is None and recorded(other) == digest(other)
    assert {*path.parent.iterdir()} == {other, checksum_file(other)}
    remove(other)
    assert not [*path.parent.iterdir()]


def test_a_plain_writer_drops_the_checksum_of_what_it_replaces(path):
    write_bytes(path, b"new")
    assert not checksum_file(path).exists()
    seal(path)
    assert fault(path) is None


def test_at_no_moment_is_a_file_beside_anothers_checksum(path, monkeypatch):
    """A kill before any of the operations that write, move and remove."""

    def all_whole():
        files = [each for each in path.parent.iterdir() if not each.name.startswith(".")]
        assert not [text for each in files if (text := fault(each))]

    def watched(operation):
        def call(*arguments, **options):
            all_whole()
            return operation(*arguments, **options)

        return call

    monkeypatch.setattr(os, "replace", watched(os.replace))
    monkeypatch.setattr(type(path), "unlink", watched(type(path).unlink))
    for content in (b"second", b"third"):
        with sealed(path) as file:
            file.write(content)
        move(path, path.with_name("previous"))
    with sealed(path) as file:
        file.write(b"fourth")
    move(path, path.with_name("previous"))
    all_whole()


def test_an_error_of_the_disk_is_told_though_the_writer_tells_another(tmp_path):
    class Full:
        def write(self, data):
            raise OSError(28, "No space left on device")

    told = r"x\.pt: can't be written: No space left on device .*make room"
    with pytest.raises(WsisError, match=told), sealed(tmp_path / "x.pt") as file:
        file.file = Full()
        try:
            file.write(b"x")
        except OSError:  # as torch.save does
            raise RuntimeError("unexpected pos") from None
    assert not [*tmp_path.iterdir()]


def test_a_folder_s_list_finds_what_has_changed_or_is_missing(tmp_path):
    names = ["a.json", "b/c.png", "b/d e.png"]
    (tmp_path / "b").mkdir()
    assert faults(tmp_path) == {}
    for name in names:
        write_bytes(tmp_path / name, name.encode())
    seal_folder(tmp_path)
    assert faults(tmp_path) == {}
    done = subprocess.run(["sha256sum", "-c", LIST], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    (tmp_path / names[0]).unlink()
    write_bytes(tmp_path / names[2], b"b/d f.png")
    found = {str(path.relative_to(tmp_path)): text for path, text in faults(tmp_path).items()}
    assert found.keys() == {names[0], names[2]} and found[names[0]] == "is missing"
    for content in (b"", b"x", (tmp_path / LIST).read_bytes() + b"half"):
        write_bytes(tmp_path / LIST, content)
        assert faults(tmp_path) == {tmp_path / LIST: "is damaged"}
