"""Resizing, flipping and decoding, against slow and obvious formulations."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from wsis.data import transforms
from wsis.data.transforms import View, read_image
from wsis.errors import WsisError


def tight(mask):
    ys, xs = np.nonzero(mask)
    return [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]


@pytest.fixture
def view():
    rng = np.random.default_rng(0)
    masks = np.zeros((3, 30, 41), bool)
    for mask in masks:
        y, x = rng.integers(0, 15, 2)
        mask[y : y + 13, x : x + 22] = rng.random((13, 22)) < 0.6
    boxes = np.array([tight(m) for m in masks], np.float32)
    image = rng.integers(0, 256, (30, 41, 3), dtype=np.uint8)
    return View(image, boxes, np.arange(3), masks, np.ones(3, bool))


@pytest.mark.parametrize("how", list(itertools.product([False, True], repeat=3)))
def test_flips_keep_boxes_tight_and_masks_on_their_pixels(view, how):
    flipped = transforms.flip(view, *how)
    assert flipped.boxes.tolist() == [tight(m) for m in flipped.masks]
    for before, after in zip(view.masks, flipped.masks, strict=True):
        seen, kept = flipped.image[after].tolist(), view.image[before].tolist()
        assert sorted(seen) == sorted(kept), "the mask still covers the same pixels of the image"


def test_the_eight_symmetries_differ(view):
    images = [
        transforms.flip(view, *how).image.tobytes() for how in itertools.product([False, True], repeat=3)
    ]
    assert len(set(images)) == 8


def test_augment_draws_only_what_it_may(view):
    for kind, expected in (("none", 1), ("flip", 2), ("dihedral", 8)):
        seen = {transforms.augment(view, kind, np.random.default_rng(i)).image.tobytes() for i in range(100)}
        assert len(seen) == expected


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(480, 640, (800, 1067)), (640, 480, (1067, 800)), (480, 960, (666, 1333)), (96, 96, (800, 800))],
)
def test_network_size_is_the_short_side_unless_the_long_one_is_too_long(height, width, expected):
    found = transforms.network_size(height, width, 800, 1333)
    assert all(abs(a - b) <= 1 for a, b in zip(found[:2], expected, strict=True))
    assert found[2] == pytest.approx(min(800 / min(height, width), 1333 / max(height, width)))


def test_greyscale_exif_and_broken_files(tmp_path):
    grey = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10))
    grey.save(tmp_path / "grey.png")
    image = transforms.read_image(tmp_path / "grey.png", 6, 10)
    assert image.shape == (6, 10, 3) and (image[..., 0] == image[..., 2]).all()
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    noise = np.random.default_rng(0).integers(0, 256, (60, 100, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "turned.jpg", exif=exif)
    assert transforms.read_image(tmp_path / "turned.jpg", 60, 100).shape == (60, 100, 3)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes((tmp_path / "turned.jpg").read_bytes()[:2000])
    with pytest.raises(WsisError, match=r"cut\.jpg: can't be decoded"):
        transforms.read_image(cut, 60, 100)
    with pytest.raises(WsisError, match=r"nothing\.jpg: missing"):
        transforms.read_image(tmp_path / "nothing.jpg", 60, 100)
    with pytest.raises(WsisError, match=r"10x6.*annotation says 6x10"):
        transforms.read_image(tmp_path / "grey.png", 10, 6)


def written(tmp_path, array, name="a.tif", **options):
    Image.fromarray(array).save(tmp_path / name, **options)
    return tmp_path / name


def test_sixteen_bits_are_scaled_by_one_rule(tmp_path):
    values = np.array([[0, 257, 32768, 65535]], np.uint16)
    for name in ("a.tif", "a.png"):
        image = read_image(written(tmp_path, values, name), 1, 4)
        assert image[..., 0].tolist() == [[0, 1, 128, 255]] and (image == image[..., :1]).all()


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_pixels_without_a_stated_white_are_refused(tmp_path, kind):
    with pytest.raises(WsisError, match=r"a\.tif: 32 bits or floats"):
        read_image(written(tmp_path, np.full((2, 3), 0.5, kind)), 2, 3)


def test_an_orientation_turns_nothing_and_is_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    array = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    path = written(tmp_path, array, "a.png", exif=exif.tobytes())
    assert (read_image(path, 4, 6) == array).all()
    with pytest.raises(WsisError, match=r"stored turned.*mogrify"):
        read_image(path, 6, 4)
    with pytest.raises(WsisError, match="its annotation says 7x4"):
        read_image(path, 4, 7)
