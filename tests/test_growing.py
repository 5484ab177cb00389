"""A file that grows: what is whole is gone on with, and nothing else."""

from __future__ import annotations

import pytest

from wsis.growing import bodies, growing

HEAD = {"made_by": "a", "weights": "0123"}
LINES = [{"images": 1, "entries": [{"score": 0.125 * i, "mask": "Pabc"}]} for i in range(4)]


@pytest.fixture
def path(tmp_path):
    with growing(tmp_path / "x.part", HEAD) as file:
        for line in LINES:
            file.add(line)
    return tmp_path / "x.part"


def held(path, head=HEAD):
    with growing(path, head) as file:
        return list(file.held())


def test_what_was_written_is_held_and_gone_on_with(path):
    assert held(path) == LINES
    with growing(path, HEAD) as file:
        file.add({"images": 9})
    assert held(path) == [*LINES, {"images": 9}]
    assert b"".join(bodies(path)).count(b"\n") == 6 and next(bodies(path)).startswith(b'{"made_by":"a"')


def test_another_head_begins_anew(path):
    assert held(path, HEAD | {"weights": "4567"}) == []
    assert held(path) == []


def test_a_line_that_is_changed_lost_doubled_or_foreign_ends_what_is_held(path):
    head, *lines = path.read_bytes().splitlines(True)
    flipped = lines[1].replace(b"0.125", b"0.135")
    assert flipped != lines[1]
    for harmed, left in (
        ([head, lines[0], flipped, *lines[2:]], 1),
        ([head, lines[0], *lines[2:]], 1),
        ([head, lines[0], lines[0], *lines[1:]], 1),
        ([head, *lines[:3], b"{}\n"], 3),
        ([head, *lines[:3], b"[]\n"], 3),
        ([head, *lines[:3], lines[3][:-1]], 3),
        ([head, *lines[:3], b"\0" * 500], 3),
        ([b"\xff\xfe\n", *lines], 0),
        ([], 0),
    ):
        path.write_bytes(b"".join(harmed))
        assert held(path) == LINES[:left]
        with growing(path, HEAD) as file:
            file.add({"images": 7})
        assert held(path) == [*LINES[:left], {"images": 7}]
