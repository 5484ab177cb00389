"""A file is the old one or the whole new one, and what can't be read or written is named."""

import os
from socket import gethostname

import pytest

from wsis.errors import WsisError
from wsis.files import atomic, read_json, remove_left, temporary_of, write_json, write_text


def test_what_is_written_is_read_and_folders_are_made(tmp_path):
    path = tmp_path / "a" / "b.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert read_json(path) == {"a": [1, 2.5, None]}
    assert path.read_text() == '{\n "a": [\n  1,\n  2.5,\n  null\n ]\n}\n'
    write_text(path, "é\n")
    assert path.read_bytes() == "é\n".encode()


def test_a_failed_writing_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    with pytest.raises(KeyError), atomic(path) as file:
        file.write(b"half")
        (temporary,) = (each for each in tmp_path.iterdir() if each != path)
        assert temporary.name.startswith(f".x.json.{gethostname()}-{os.getpid()}-")
        raise KeyError
    assert read_json(path) == {"a": 1} and [*tmp_path.iterdir()] == [path]


def test_what_killed_processes_left_of_a_file_goes_and_what_others_write_stays(tmp_path):
    path = tmp_path / "x.json"
    killed = os.fork()
    if killed == 0:
        (tmp_path / "a").mkdir()
        temporary_of(tmp_path / "a").mkdir()
        temporary_of(path).touch()
        os._exit(0)
    os.waitpid(killed, 0)
    begin = f".x.json.{gethostname()}-"
    lives = [tmp_path / name for name in (f"{begin}{os.getppid()}-0.tmp", ".x.json.elsewhere-7.tmp")]
    others = [*lives, tmp_path / f".y{begin[2:]}{killed}-0.tmp", tmp_path / f"{begin}x.tmp"]
    for other in others:
        other.touch()
    write_json(path, 1)
    remove_left(tmp_path / "a")
    assert {*tmp_path.iterdir()} == {path, *others, tmp_path / "a"}


def test_errors_name_the_file(tmp_path):
    with pytest.raises(WsisError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(WsisError, match=r"x\.json: can't be read as JSON: "):
        read_json(tmp_path / "x.json")
    with pytest.raises(WsisError, match=r"x\.json/y\.json: can't be written"):
        write_json(tmp_path / "x.json" / "y.json", {})
