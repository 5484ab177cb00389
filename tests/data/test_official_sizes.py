"""A root's number of images beside the published one."""

from __future__ import annotations

from wsis.data.official_sizes import OFFICIAL, official
from wsis.data.roots import open_root


def test_official_counts(coco_root, recipe, monkeypatch):
    r = recipe("coco")
    assert official(open_root(r, coco_root.root)) == {
        "train2017": (4, 118287, False),
        "val2017": (4, 5000, False),
    }
    monkeypatch.setitem(OFFICIAL["coco"], "val2017", 4)
    assert official(open_root(r, coco_root.root))["val2017"] == (4, 4, True)
