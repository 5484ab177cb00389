"""Faults of a root of salient objects."""

from __future__ import annotations

import json

from PIL import Image

from wsis.data.check.root import check_root


def test_faults_of_a_saliency_root(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, size in (("a", (9, 7)), ("b", (9, 7)), ("c", (7, 9))):
        Image.new("RGB", (9, 7)).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", size, 0 if name == "b" else 255).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "train.txt").write_text("a\n")
    assert check_root(tmp_path).ok
    (tmp_path / "train.txt").write_text("a\nb\nc\nd\n")
    report = check_root(tmp_path)
    assert {(f.kind, f.id) for f in report.problems} == {
        ("mask", "b"),
        ("size", "c"),
        ("mask", "d"),
        ("missing", "d"),
    }
    assert json.dumps([str(f) for f in report.problems])
