"""A file is the old one or the whole new one, and what can't be read or written is named."""

import os

import pytest

from wsis.errors import WsisError
from wsis.files import atomic, read_json, write_json, write_text


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
        assert [p.name for p in tmp_path.iterdir() if p != path] == [f".x.json.{os.getpid()}.tmp"]
        raise KeyError
    assert read_json(path) == {"a": 1} and [*tmp_path.iterdir()] == [path]


def test_errors_name_the_file(tmp_path):
    with pytest.raises(WsisError, match=r"absent\.json: no such file"):
        read_json(tmp_path / "absent.json")
    (tmp_path / "x.json").write_text('{"a": ')
    with pytest.raises(WsisError, match=r"x\.json: can't be read as JSON: "):
        read_json(tmp_path / "x.json")
    with pytest.raises(WsisError, match=r"x\.json/y\.json: can't be written"):
        write_json(tmp_path / "x.json" / "y.json", {})
