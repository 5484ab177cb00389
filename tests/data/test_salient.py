"""Salient roots: layouts, the rule of one object, odd masks, and `wsis data check` for them."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest
from PIL import Image

from wsis.data import salient
from wsis.data.check.root import check_root
from wsis.data.salient import has_one_object, open_salient, read_mask
from wsis.errors import WsisError


def components(mask):
    """Areas of the 8-connected components, by flood fill."""
    left, areas = {(int(y), int(x)) for y, x in np.argwhere(mask)}, []
    while left:
        queue, area = deque([left.pop()]), 1
        while queue:
            y, x = queue.popleft()
            for near in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if near in left:
                    left.remove(near)
                    queue.append(near)
                    area += 1
        areas.append(area)
    return areas


def drawn(*squares, size=(40, 50)):
    """h x w float mask with squares (row, column, side, value)."""
    mask = np.zeros(size, np.float32)
    for row, column, side, value in squares:
        mask[row : row + side, column : column + side] = value
    return mask


MASKS = {
    "one": (drawn((5, 5, 10, 1)), True),
    "two": (drawn((2, 2, 8, 1), (20, 20, 8, 1)), False),
    "touching at a corner": (drawn((2, 2, 8, 1), (10, 10, 8, 1)), True),
    "one and a speck": (drawn((2, 2, 8, 1), (30, 30, 4, 1)), True),  # 16 of 2000 pixels
    "one and just enough": (drawn((2, 2, 8, 1), (30, 30, 5, 1)), False),  # 25 of 2000 pixels
    "a speck alone": (drawn((30, 30, 4, 1)), False),
    "exactly 1 %": (drawn((3, 3, 4, 1), (7, 3, 2, 1)), False),  # 20 of 2000 pixels: not above
    "empty": (drawn(), False),
    "soft bridge": (drawn((2, 2, 8, 1), (2, 10, 8, 0.5), (2, 18, 8, 1)), False),
    "hard bridge": (drawn((2, 2, 8, 1), (2, 10, 8, 0.6), (2, 18, 8, 1)), True),
}


@pytest.mark.parametrize("name", MASKS)
def test_the_rule_of_one_object(name):
    mask, expected = MASKS[name]
    assert has_one_object(mask) is expected


def test_the_rule_agrees_with_flood_fill():
    rng, found = np.random.default_rng(0), []
    for _ in range(60):
        coarse = rng.random((4, 5)) < 0.4
        mask = np.kron(coarse, np.ones((4, 4), np.float32)) * rng.uniform(0.45, 1)
        large = [area for area in components(mask > 0.5) if area > 0.01 * mask.size]
        assert has_one_object(mask) is (len(large) == 1)
        found.append(len(large) == 1)
    assert 5 < sum(found) < 55


@pytest.fixture
def write(tmp_path):
    """write(masks, folders, listing): a salient root of 40 x 50 images with these masks."""

    def make(masks, folders=("images", "masks"), listing=None):
        root = tmp_path / "salient"
        for folder in folders:
            (root / folder).mkdir(parents=True)
        for name, mask in masks.items():
            Image.new("RGB", mask.shape[::-1], (9, 8, 7)).save(root / folders[0] / f"{name}.jpg")
            Image.fromarray((mask * 255).astype(np.uint8)).save(root / folders[1] / f"{name}.png")
        if listing is not None:
            (root / "train.txt").write_text("\n".join(listing))
        return root

    return make


ONE, TWO = MASKS["one"][0], MASKS["two"][0]


@pytest.mark.parametrize("folders", [("images", "masks"), ("DUTS-TR-Image", "DUTS-TR-Mask")])
def test_without_a_list_the_rule_chooses(write, folders, tmp_path):
    root = write({"c": ONE, "a": ONE, "b": TWO}, folders)
    found = open_salient(root)
    assert found.names == ("a", "c") and len(found) == 2
    image, mask = found.pairs[1]
    assert (image.parent.name, image.name) == (folders[0], "c.jpg") and mask.name == "c.png"
    assert check_root(root).layout == "salient" and check_root(root).ok


def test_a_list_is_used_as_it_is(write):
    root = write({"c": ONE, "a": ONE, "b": TWO}, listing=["b", "c", "b"])
    found = open_salient(root)
    assert found.names == ("b", "c")


def test_the_listing_is_kept_until_a_mask_changes(write, tmp_path, monkeypatch):
    root, cache = write({"a": ONE, "b": TWO}), tmp_path / "cache"
    assert open_salient(root, cache=cache).names == ("a",)
    (file,) = cache.iterdir()
    content = json.loads(file.read_text())
    assert (content["count"], content["of"], content["names"]) == (1, 2, ["a"])
    with monkeypatch.context() as patch:
        patch.setattr(salient, "has_one_object", lambda mask: 1 / 0)
        assert open_salient(root, cache=cache).names == ("a",)
    Image.fromarray(np.uint8(ONE * 255)).save(root / "masks" / "b.png")
    assert open_salient(root, cache=cache).names == ("a", "b")


def test_a_listing_that_cannot_be_kept_or_read_is_made_anew(write, tmp_path):
    root, cache = write({"a": ONE, "b": TWO}), tmp_path / "cache"
    (tmp_path / "file").write_text("in the way of a folder")
    assert open_salient(root, cache=tmp_path / "file").names == ("a",)
    open_salient(root, cache=cache)
    (file,) = cache.iterdir()
    for text in ("", "[]", "{}", '{"names": 3}'):
        file.write_text(text)
        assert open_salient(root, cache=cache).names == ("a",)
    assert json.loads(file.read_text())["names"] == ["a"] and list(cache.iterdir()) == [file]


def test_the_fingerprint_is_that_of_names_and_masks(write):
    root = write({"a": ONE, "b": ONE}, listing=["a", "b"])
    before = open_salient(root).fingerprint
    assert before == open_salient(root).fingerprint and len(before) == 10
    (root / "train.txt").write_text("b\na\n")
    assert open_salient(root).fingerprint != before
    (root / "train.txt").write_text("a\nb\n")
    Image.fromarray(np.uint8(TWO * 255)).save(root / "masks" / "b.png")
    assert open_salient(root).fingerprint != before


def test_masks_keep_their_soft_values_whatever_their_range_and_mode(tmp_path):
    path, values = tmp_path / "a.png", np.array([[0, 50, 100]], np.uint8)
    for array in (values, values // 50, np.repeat(values[..., None], 3, 2)):
        Image.fromarray(array).save(path)
        assert read_mask(path).tolist() == [[0, 0.5, 1]]
    Image.fromarray(np.array([[0, 0]], np.uint8)).save(path)
    assert read_mask(path).tolist() == [[0, 0]]
    Image.fromarray(np.array([[False, True]])).save(path)
    assert read_mask(path).tolist() == [[0, 1]]


def test_roots_that_lack_something_are_refused(write, tmp_path):
    with pytest.raises(WsisError, match="not a salient root"):
        open_salient(tmp_path)
    root = write({"a": TWO})
    with pytest.raises(WsisError, match="none of its 1 masks"):
        open_salient(root)
    (root / "train.txt").write_text("")
    with pytest.raises(WsisError, match="lists no image"):
        open_salient(root)
    (root / "train.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(WsisError, match=r"train\.txt: can't be read"):
        open_salient(root)
    (root / "train.txt").write_text("a\n../a\n")
    with pytest.raises(WsisError, match="missing"):
        open_salient(root)
    (root / "train.txt").write_text("a\n")
    (root / "masks" / "a.png").unlink()
    with pytest.raises(WsisError, match=r"masks.a\.\*: missing"):
        open_salient(root)
    (root / "masks" / "a.png").write_text("no image")
    with pytest.raises(WsisError, match="can't be decoded"):
        read_mask(root / "masks" / "a.png")


def test_check_tells_the_count_and_what_is_handled(write):
    root = write({"a": ONE, "b": TWO, "c": ONE * 0.5 + TWO * 0.4, "d": ONE})
    Image.new("L", (50, 40)).save(root / "images" / "d.jpg")
    Image.new("RGB", (50, 40), "white").save(root / "masks" / "d.png")
    Image.new("L", (50, 40), 255).save(root / "masks" / "e.png")
    report = check_root(root)
    assert report.ok, report.lines()
    notes = {note.kind: note for note in report.notes}
    assert set(notes) == {"soft", "colour", "grey", "no image", "one object", "official"}
    assert notes["one object"].text.startswith(f"{len(open_salient(root))} of 4 masks")
    assert "only these are trained on" in notes["one object"].advice
    assert report.counts["salient images with one object"] == len(open_salient(root))


def test_check_finds_what_is_wrong(write):
    root = write({"a": ONE, "b": ONE, "c": ONE * 0, "d": ONE, "e": ONE})
    Image.new("RGB", (40, 50)).save(root / "images" / "a.jpg")
    (root / "masks" / "b.png").unlink()
    (root / "masks" / "d.png").write_bytes((root / "masks" / "d.png").read_bytes()[:60])
    (root / "images" / "e.jpg").write_text("no image")
    report = check_root(root)
    assert {(f.kind, f.id) for f in report.problems} == {
        ("size", "a"), ("mask", "b"), ("mask", "c"), ("mask", "d"), ("unreadable", "e")
    }  # fmt: skip
    for folder in ("images", "masks"):
        for file in (root / folder).iterdir():
            file.unlink()
    assert {f.kind for f in check_root(root).problems} == {"split"}
    (root / "images").rmdir()
    assert {f.kind for f in check_root(root).problems} == {"folder"}


def test_real_salient_images(shared):
    root = shared("salient")
    assert len(open_salient(root)) == 160
    report = check_root(root)
    assert report.ok and 150 < report.counts["salient images with one object"] < 200
